"""moted: what it equals before training, its texts, its pairs, its losses, and its ablations."""

import pytest
import torch
import torch.nn.functional as F

from kinetext.backbones.attention import cosine_scores
from kinetext.backbones.text_table import tabulate_texts
from kinetext.config.training import TrainingOptions
from kinetext.methods.base import LossInputs, configure_method
from kinetext.methods.moted.pairs import compare_pairs
from kinetext.training.setup import choose_trained
from method_inputs import (
    LABELS,
    RIVALS_KK,
    TARGET_B,
    B,
    assert_same,
    build,
    description_rows,
    name_table,
    noise_clips,
    perturb,
    row_features,
    score,
    sentence_features,
    total_loss,
)
from worlds import text_rows


def step_rows(label, *middle, rival=None):
    """A name, a start, the steps, an end and the whole of one class; with a rival only the sentences, against it."""
    count = len(middle) + 1
    steps = [(n / count, f"{label} {step}") for n, step in enumerate(middle, start=1)]
    rows = description_rows(
        ("start", f"{label} waits"), *steps, ("end", f"{label} is over"), ("whole", f"it is {label}"), label=label
    )
    return rows if rival is None else [row | {"rival": rival, "sentence": f"{row['sentence']} x"} for row in rows[1:]]


@pytest.fixture
def table(tiny):
    return tabulate_texts(text_rows(LABELS), LABELS, tiny)


@pytest.fixture
def steps_table(tiny):
    """Classes with none, one and three steps between start and end."""
    middles = ((), ("is halfway",), ("begins", "is halfway", "nears its end"), ())
    rows = [row for label, middle in zip(LABELS, middles, strict=True) for row in step_rows(label, *middle)]
    return tabulate_texts(rows, LABELS, tiny)


@pytest.mark.parametrize(
    ("options", "same"),
    [
        ({}, {"steps": "steps", "temperature": 0.01, "order": 0.1}),
        ({"temperature": 0, "order": 0}, {"steps": "steps"}),
        ({"phases": ["start", "end"]}, {"steps": "ends"}),
    ],
)
@pytest.mark.parametrize("visual", ["stan", "seq_transformer", None])
@torch.inference_mode()
def test_moteds_motion_before_training_is_ordered_descriptions(tiny, steps_table, visual, options, same):
    """Whatever temporal method is inside, and whatever reads the words: both start at zero."""
    moted = build(tiny, "moted", visual=visual, visual_options={}, weights="learned", **options)
    motion_BK = score(moted, noise_clips(7), steps_table)
    motion_BK = motion_BK - score(build(tiny, "mean_pool"), noise_clips(7), name_table(tiny))
    assert_same(motion_BK, score(build(tiny, "ordered_descriptions", **same), noise_clips(7), steps_table))


@torch.inference_mode()
def test_moteds_texts_before_training_are_names_and_the_descriptions_of_each_phase(tiny, table):
    """Here every class has a sentence about its start and one about its end; of the whole clip both speak."""
    three = {"phases": ["whole", "start", "end"]}
    text = build(tiny, "moted", **three).encode_texts(table)
    for k, label in enumerate(LABELS):
        start_D, end_D = F.normalize(sentence_features(tiny, label, ("motion",)), dim=-1)
        assert_same(text.appearance[k], F.normalize(sentence_features(tiny, label, ("name",)), dim=-1).mean(0))
        assert_same(text.step_GMD[k], F.normalize(torch.stack([(start_D + end_D) / 2, start_D, end_D]), dim=-1))
    for options in ({"reader": False}, {"weights": "learned"}):
        assert torch.equal(build(tiny, "moted", **three, **options).encode_texts(table).step_GMD, text.step_GMD)
    assert_same(build(tiny, "moted").encode_texts(table).step_GMD, text.step_GMD[:, 1:])
    assert_same(build(tiny, "moted", phases=["whole"]).encode_texts(table).step_GMD, text.step_GMD[:, :1])


@torch.inference_mode()
def test_moteds_learned_weights_are_a_softmax_over_the_sentences_of_a_class_and_step(tiny):
    rows = description_rows(("start", "low"), ("start", "at the bottom"), ("end", "high"))
    for options in ({}, {"phases": ["start", "end"]}):
        method = build(tiny, "moted", weights="learned", reader=False, **options)
        method.scorer_D.normal_(std=4)
        start_SD = F.normalize(row_features(tiny, rows[1:3]), dim=-1)
        weight_S = (start_SD @ method.scorer_D).softmax(0)
        assert weight_S.max() > 0.55  # not uniform, so that the test tells
        step_MD = method.encode_texts(tabulate_texts(rows, ["rising"], tiny)).step_GMD[0]
        assert_same(step_MD[0], F.normalize(weight_S @ start_SD, dim=-1))
        assert_same(step_MD[1], F.normalize(row_features(tiny, rows[3:]), dim=-1)[0])


@torch.inference_mode()
def test_moteds_motion_tokens_before_training_are_the_frames_or_their_phases(tiny):
    """Seven frames: the start is the first two, the end the last two."""
    frames_BTD = tiny.clip.encode_image(noise_clips(7).flatten(0, 1)).unflatten(0, (B, 7))
    parts = {"whole": frames_BTD.mean(1), "start": frames_BTD[:, :2].mean(1), "end": frames_BTD[:, 5:].mean(1)}
    video = build(tiny, "moted").encode_video(noise_clips(7))
    assert_same(video.appearance, parts["whole"])
    assert_same(video.motion, frames_BTD)
    for phases in (["start", "end"], ["end", "whole"], ["whole"]):
        video = build(tiny, "moted", phases=phases).encode_video(noise_clips(7))
        assert_same(video.motion, torch.stack([parts[phase] for phase in phases], 1))


@pytest.mark.parametrize("visual", ["stan", "seq_transformer"])
@torch.inference_mode()
def test_a_motion_token_depends_on_other_frames_and_differs_between_frames(tiny, visual):
    method = build(tiny, "moted", visual=visual, visual_options={})
    perturb(method)
    frames = noise_clips(4)
    other = torch.cat([frames[:, :3], -frames[:, 3:]], 1)  # only the last frame is another
    tokens_BTD, other_BTD = (method.encode_video(clip).motion for clip in (frames, other))
    plain_BTD = method.frame_features(method.image_tokens(frames))
    assert (tokens_BTD[:, 0] - other_BTD[:, 0]).abs().max() > 1e-3
    added_BTD = tokens_BTD - plain_BTD
    assert (added_BTD[:, 0] - added_BTD[:, 1]).abs().max() > 1e-3


MOTEDS = [
    {"visual": "stan", "visual_options": {"layers": 1, "variant": "paper"}},
    {"visual": "stan", "visual_options": {"layers": 1, "intra_frame": False}},
    {"visual": "seq_transformer", "visual_options": {"layers": 1}},
    {"visual": None, "visual_options": {}},
    {"reader": False},
    {"weights": "learned"},
    {"phases": ["start", "end"]},
    {"phases": ["whole"]},
    {"phases": ["whole", "start", "end"], "weights": "learned"},
    {"temperature": 0, "order": 0},
    {"ordered": False},
    {"fused": False},
    {"pairs": False},
    {"reversed": 1},
    {"random_description": True},
    {"align": 0},
    {"hard": 0},
    {"align": 0, "hard": 0},
]


@pytest.mark.parametrize("options", MOTEDS, ids=str)
def test_every_moted_scores_and_trains_all_it_adds_with_texts_encoded_once(tiny, options):
    rows = [
        row
        for label in LABELS
        for row in description_rows(("start", f"{label} waits"), ("start", "it waits"), ("end", "over"), label=label)
    ]
    table = tabulate_texts(rows, LABELS, tiny)
    method = build(tiny, "moted", **options)
    perturb(method)
    choose_trained(method.train(), TrainingOptions(image_encoder="frozen", text_encoder="frozen"))
    with torch.no_grad():
        frozen = method.encode_words(table)  # as training does (training/tasks.py)
    text = method.pool_texts(frozen, table)
    assert torch.isfinite(method.score(method.encode_video(noise_clips()), text)).all()
    total_loss(method, method.encode_video(noise_clips()), text).backward()
    silent = [n for n, p in method.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert not silent


def test_a_visual_method_without_motion_per_frame_is_refused():
    method, config = configure_method("moted", {"visual": "mean_pool"})
    with pytest.raises(ValueError, match="visual: mean_pool has no motion feature per frame; take stan"):
        method.check(config)
    with pytest.raises(ValueError, match="end is listed twice"):
        configure_method("moted", {"phases": ["end", "end"]})


@torch.inference_mode()
def test_moteds_reader_sees_the_order_of_steps_and_a_classs_own_words_only(tiny, steps_table):
    method = build(tiny, "moted")
    perturb(method)
    steps = method.encode_texts(steps_table).step_GMD
    rows = step_rows("growing", "begins", "is halfway", "nears its end")
    alone = method.encode_texts(tabulate_texts(rows, ["growing"], tiny)).step_GMD
    assert_same(alone[0], steps[2])
    reordered = [row | {"position": {0.25: 0.75, 0.75: 0.25}.get(row["position"], row["position"])} for row in rows]
    turned = method.encode_texts(tabulate_texts(reordered, ["growing"], tiny)).step_GMD
    assert (turned[0, [0, 3, 2, 1, 4]] - alone[0]).abs().max() > 1e-3  # the same sentences, read at another time
    assert not steps[0, 2:].any()  # steps that a class does not have


def test_a_pair_decides_where_it_is_at_stake():
    score_BK = torch.zeros(3, 3)
    pair_BP = torch.tensor([[0.6, 0.2]] * 3)
    pairs = torch.tensor([0, 1]), torch.tensor([1, 0]), torch.tensor([1, 0])
    share_BK = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0], [0.25, 0.25, 0.5]])
    compared = compare_pairs(score_BK, pair_BP, share_BK, *pairs)
    torch.testing.assert_close(compared, torch.tensor([[0.2, -0.2, 0.0], [0.0, 0.0, 0.0], [0.1, -0.1, 0.0]]))
    empty = torch.tensor([], dtype=torch.long)
    assert torch.equal(compare_pairs(score_BK, pair_BP[:, :0], share_BK, empty, empty, empty), score_BK)


@torch.inference_mode()
def test_descriptions_against_a_rival_change_the_scores_of_the_pair_only(tiny):
    rows = [row for label in LABELS for row in step_rows(label)]
    for label, rival in ((LABELS[0], LABELS[1]), (LABELS[1], LABELS[0])):
        rows += step_rows(label, "is halfway", rival=rival)
    table = tabulate_texts(rows, LABELS, tiny)
    with_pairs, without = (build(tiny, "moted", pairs=pairs) for pairs in (True, False))
    text = with_pairs.encode_texts(table)
    assert (text.label_P.tolist(), text.rival_P.tolist()) == ([0, 1], [1, 0])
    assert text.count_G.tolist() == [3, 3, 2, 2, 3, 3]
    change_BK = score(with_pairs, noise_clips(), table) - score(without, noise_clips(), table)
    assert (change_BK[:, :2].abs() > 1e-4).all()
    assert (change_BK[:, 0] * change_BK[:, 1] < 0).all()  # what one gains the other loses
    assert_same(change_BK[:, 2:], torch.zeros(B, 2))


def test_moted_with_every_weight_at_zero_is_mean_pool_on_the_names(tiny, table):
    moted = build(tiny, "moted", visual=None, visual_options={}, align=0, hard=0, motion=0)
    mean_pool = build(tiny, "mean_pool")
    names = tabulate_texts(text_rows(LABELS, descriptions=False), LABELS, tiny)
    assert_same(score(moted, noise_clips(), table), score(mean_pool, noise_clips(), names))

    def loss(method, texts):
        video, text = method.encode_video(noise_clips()), method.encode_texts(texts)
        return total_loss(method, video, text, 0.1)

    assert_same(loss(moted, table), loss(mean_pool, names))
    for weight in ("align", "hard", "motion"):  # each of the three parts does something
        one = build(tiny, "moted", **{"align": 0, "hard": 0, "motion": 0, weight: 1})
        if weight == "motion":
            assert not torch.allclose(score(one, noise_clips(), table), score(moted, noise_clips(), table))
        else:
            assert loss(one, table) > loss(moted, table) + 1e-3


def test_the_score_that_is_used_is_the_score_that_is_trained(tiny, table):
    method = build(tiny, "moted", align=0, hard=0, motion=2)
    video, text = method.encode_video(noise_clips()), method.encode_texts(table)
    assert_same(total_loss(method, video, text), F.cross_entropy(method.score(video, text), TARGET_B))
    with torch.no_grad():
        method.log_weight.fill_(-1.0)
    weight = 2 * torch.tensor(-1.0).exp()
    appearance_BK = cosine_scores(video.appearance, text.appearance)
    fused_BK = tiny.logits(appearance_BK + weight * method.motion_scores(video, text))
    assert_same(method.score(video, text), fused_BK)
    apart = build(tiny, "moted", align=0, hard=0, fused=False)
    assert_same(total_loss(apart, video, text), F.cross_entropy(tiny.logits(appearance_BK), TARGET_B))
    assert apart.log_weight is None


@torch.inference_mode()
def test_the_order_loss_sets_steps_against_their_reverse(tiny, steps_table):
    method = build(tiny, "moted", reversed=2, visual=None, visual_options={})
    video, text = method.encode_video(noise_clips()), method.encode_texts(steps_table)
    right_BK = method.motion_scores(video, text)
    # the clips backwards fit the reversed steps as the clips fit the steps
    backwards_BK = method.motion_scores(video._replace(motion=video.motion.flip(1)), text)
    difference_B = tiny.logits(backwards_BK - right_BK).gather(1, TARGET_B[:, None])[:, 0]
    losses = method.losses(LossInputs(video, text, TARGET_B, RIVALS_KK))
    assert_same(losses["order"], 2 * F.softplus(difference_B).mean())


@torch.inference_mode()
def test_a_random_description_per_step_is_one_of_them_and_the_mean_is_used_for_tests(tiny):
    rows = description_rows(("start", "low"), ("start", "at the bottom"), ("end", "high"), ("whole", "it climbs"))
    table = tabulate_texts(rows, ["rising"], tiny)
    method = build(tiny, "moted", random_description=True, reader=False)
    unit_SD = F.normalize(row_features(tiny, rows[1:4]), dim=-1)
    assert_same(method.encode_texts(table).step_GMD[0, 0], F.normalize(unit_SD[:2].mean(0), dim=-1))
    drawn = torch.stack([method.train().encode_texts(table).step_GMD[0] for _ in range(20)])
    nearest = (drawn[:, 0] @ unit_SD[:2].T).argmax(-1)
    assert_same(drawn[:, 0], unit_SD[nearest])
    assert set(nearest.tolist()) == {0, 1}
    assert_same(drawn[:, 1], unit_SD[2].expand(20, -1))


def test_moteds_hard_loss_is_among_a_class_and_its_rivals(tiny, table):
    method = build(tiny, "moted", align=0, hard=1, motion=0)
    video, text = method.encode_video(noise_clips()), method.encode_texts(table)
    names_only = F.cross_entropy(tiny.logits(cosine_scores(video.appearance, text.appearance)), TARGET_B)
    motion_BK = tiny.logits(method.motion_scores(video, text))
    pairs = [(0, 0, 1), (1, 1, 0), (2, 3, 2)]  # clip, its class, that class's rival
    two_way = [F.softplus(motion_BK[b, rival] - motion_BK[b, label]) for b, label, rival in pairs]
    assert_same(total_loss(method, video, text), names_only + torch.stack(two_way).mean())
