"""moted: what it equals before training, its texts, its losses, and its variants."""

import pytest
import torch
import torch.nn.functional as F

from kinetext.backbones.attention import cosine_scores
from kinetext.backbones.text_table import tabulate_texts
from kinetext.config.training import TrainingOptions
from kinetext.training.setup import choose_trained
from method_inputs import (
    LABELS,
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


@pytest.fixture
def table(tiny):
    return tabulate_texts(text_rows(LABELS), LABELS, tiny)


@torch.inference_mode()
def test_moteds_texts_before_training_are_names_and_the_descriptions_of_each_phase(tiny, table):
    """Here every class has a sentence about its start and one about its end; of the whole clip both speak."""
    three = {"phases": ["whole", "start", "end"]}
    text = build(tiny, "moted", **three).encode_texts(table)
    for k, label in enumerate(LABELS):
        start_D, end_D = F.normalize(sentence_features(tiny, label, ("motion",)), dim=-1)
        assert_same(text.appearance[k], F.normalize(sentence_features(tiny, label, ("name",)), dim=-1).mean(0))
        assert_same(text.motion[k], torch.stack([(start_D + end_D) / 2, start_D, end_D]))
    for options in ({"reader": False}, {"weights": "learned"}):
        assert torch.equal(build(tiny, "moted", **three, **options).encode_texts(table).motion, text.motion)
    assert_same(build(tiny, "moted").encode_texts(table).motion, text.motion[:, 1:])
    assert_same(build(tiny, "moted", phases=["whole"]).encode_texts(table).motion, text.motion[:, :1])


@torch.inference_mode()
def test_whole_speaks_of_the_whole_where_it_is_one_phase_of_several_and_of_everything_where_it_is_the_only_one(tiny):
    rows = description_rows(("start", "low"), ("whole", "it climbs"), ("end", "high"))
    table = tabulate_texts(rows, ["rising"], tiny)
    low_D, climbs_D, high_D = F.normalize(row_features(tiny, rows[1:]), dim=-1)
    several = build(tiny, "moted", phases=["whole", "end"], reader=False).encode_texts(table)
    assert_same(several.motion[0], torch.stack([climbs_D, high_D]))
    alone = build(tiny, "moted", phases=["whole"], reader=False).encode_texts(table)
    assert_same(alone.motion[0], (low_D + climbs_D + high_D)[None] / 3)


@torch.inference_mode()
def test_moteds_learned_weights_are_a_softmax_over_the_sentences_of_a_class_and_phase(tiny):
    rows = description_rows(("start", "low"), ("start", "at the bottom"), ("end", "high"))
    method = build(tiny, "moted", weights="learned", reader=False)
    method.scorer_D.normal_(std=4)
    start_SD = F.normalize(row_features(tiny, rows[1:3]), dim=-1)
    weight_S = (start_SD @ method.scorer_D).softmax(0)
    assert weight_S.max() > 0.55  # not uniform, so that the test tells
    motion_PD = method.encode_texts(tabulate_texts(rows, ["rising"], tiny)).motion[0]
    assert_same(motion_PD[0], weight_S @ start_SD)
    assert_same(motion_PD[1], F.normalize(row_features(tiny, rows[3:]), dim=-1)[0])


@pytest.mark.parametrize("visual", ["stan", "seq_transformer", "mean_pool", None])
@torch.inference_mode()
def test_moteds_motion_before_training_is_ordered_descriptions(tiny, table, visual):
    """Whatever temporal method is inside, and whatever reads the words: both start at zero."""
    moted = build(tiny, "moted", visual=visual, visual_options={}, weights="learned")
    ordered = build(tiny, "ordered_descriptions")
    motion_BK = score(moted, noise_clips(7), table) - score(build(tiny, "mean_pool"), noise_clips(7), name_table(tiny))
    assert_same(motion_BK, score(ordered, noise_clips(7), table))


@torch.inference_mode()
def test_moteds_video_before_training_is_the_mean_frame_of_each_phase(tiny):
    """Seven frames: the start is the first two, the end the last two."""
    frames_BTD = tiny.clip.encode_image(noise_clips(7).flatten(0, 1)).unflatten(0, (B, 7))
    parts = {"whole": frames_BTD.mean(1), "start": frames_BTD[:, :2].mean(1), "end": frames_BTD[:, 5:].mean(1)}
    for phases in (["start", "end"], ["end", "whole"], ["whole"]):
        video = build(tiny, "moted", phases=phases).encode_video(noise_clips(7))
        assert_same(video.appearance, parts["whole"])
        assert_same(video.motion, torch.stack([parts[phase] for phase in phases], 1))


MOTEDS = [
    {"visual": "stan", "visual_options": {"layers": 1, "variant": "paper"}},
    {"visual": "seq_transformer", "visual_options": {"layers": 1}},
    {"visual": "mean_pool", "visual_options": {}},
    {"visual": None, "visual_options": {}},
    {"reader": False},
    {"weights": "learned"},
    {"phases": ["whole"]},
    {"phases": ["whole", "start", "end"], "weights": "learned"},
    {"align": 0},
    {"hard": 0},
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


@torch.inference_mode()
def test_moteds_reader_looks_at_a_classs_own_words_and_at_when_they_happen(tiny, table):
    method = build(tiny, "moted", phases=["whole"])
    perturb(method)
    whole = method.encode_texts(table).motion
    rows = text_rows(LABELS)
    alone = [row for row in rows if row["label"] == "growing"]
    assert_same(method.encode_texts(tabulate_texts(alone, ["growing"], tiny)).motion[0], whole[2])
    swapped = [row | {"position": {0.0: 1.0, 1.0: 0.0}.get(row["position"])} for row in rows]
    change = (method.encode_texts(tabulate_texts(swapped, LABELS, tiny)).motion - whole).abs().max()
    assert change > 1e-3


def test_moted_with_every_weight_at_zero_is_mean_pool_on_the_names(tiny, table):
    moted = build(tiny, "moted", visual="mean_pool", visual_options={}, align=0, hard=0, motion=0)
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


def test_moteds_hard_loss_is_among_a_class_and_its_rivals(tiny, table):
    method = build(tiny, "moted", align=0, hard=1)
    video, text = method.encode_video(noise_clips()), method.encode_texts(table)
    names_only = F.cross_entropy(tiny.logits(cosine_scores(video.appearance, text.appearance)), TARGET_B)
    cosines = [cosine_scores(video.motion[:, p], text.motion[:, p]) for p in range(2)]
    motion_BK = tiny.logits(sum(cosines) / 2)
    pairs = [(0, 0, 1), (1, 1, 0), (2, 3, 2)]  # clip, its class, that class's rival
    two_way = [F.softplus(motion_BK[b, rival] - motion_BK[b, label]) for b, label, rival in pairs]
    assert_same(total_loss(method, video, text), names_only + torch.stack(two_way).mean())
