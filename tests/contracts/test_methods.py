"""What every method promises (src/kinetext/methods/__init__.py), on a small CLIP with random weights, and what
each says of itself before training.
"""

import itertools

import pytest
import torch
import torch.nn.functional as F

from kinetext.backbones.attention import cosine_scores
from kinetext.backbones.checkpoint import load_backbone, load_trained, save_trained
from kinetext.backbones.open_clip_vit import Architecture, OpenClipViT
from kinetext.backbones.text_table import encode_table, tabulate_texts
from kinetext.config.training import TrainingOptions
from kinetext.core import plugins
from kinetext.methods.base import LossInputs, build_method
from kinetext.methods.ordered_descriptions import best_alignment, steps_of_sentences
from kinetext.training.objectives import total
from kinetext.training.setup import choose_kernels, choose_trained
from worlds import text_rows

# smaller than the defaults, for speed; a method that is not named here is tried with its defaults
OPTIONS = {"stan": {"layers": 2}, "moted": {"queries": 2, "visual_options": {"layers": 2}}}
SEES_ORDER = {
    "stan",
    "moted",
    "seq_transformer",
    "ordered_descriptions",
}  # methods whose docstring says that the order of frames matters
LABELS = ["rising", "falling", "growing", "gate opening"]
PX, PATCHES = 64, 16

B, T, K = 3, 5, len(LABELS)
TARGET_B = torch.tensor([0, 1, 3])
RIVALS_KK = (
    torch.eye(K, dtype=torch.bool) | torch.tensor([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]]).bool()
)


def frames(num_frames: int = T) -> torch.Tensor:
    """Clips of noise that get lighter from frame to frame, already normalised."""
    generator = torch.Generator().manual_seed(1)
    light_T = torch.linspace(-1, 1, num_frames)
    return torch.randn(B, num_frames, 3, PX, PX, generator=generator) + light_T[:, None, None, None]


def stir(method) -> None:
    """Move every parameter a little, as training would: what starts at zero now speaks."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


def build(backbone, name, **options):
    torch.manual_seed(0)
    return build_method(backbone, name, {**OPTIONS.get(name, {}), **options}).eval()


def score(method, frames_BTCHW, table) -> torch.Tensor:
    with torch.inference_mode():
        return method.score(method.encode_video(frames_BTCHW), method.encode_texts(table))


def loss_of(method, video, text, label_smoothing=0.0) -> torch.Tensor:
    return total(method.losses(LossInputs(video, text, TARGET_B, RIVALS_KK, label_smoothing)))


def same(a, b) -> None:
    """Features or scores, alone or as a tuple of them, up to float32's rounding (scores are up to 15)."""
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.fixture(params=plugins.names("methods"))
def name(request):
    return request.param


@pytest.fixture
def method(name, tiny):
    """The method after a little training."""
    method = build(tiny, name)
    stir(method)
    return method


@pytest.fixture
def table(tiny):
    return tabulate_texts(text_rows(LABELS), LABELS, tiny)


def test_scores_are_a_number_for_each_clip_and_class_and_the_same_twice(method, table):
    scores_BK = score(method, frames(), table)
    assert scores_BK.shape == (B, K)
    assert torch.isfinite(scores_BK).all()
    assert scores_BK.std() > 1e-3  # they say something
    assert torch.equal(scores_BK, score(method, frames(), table))


def test_a_clips_scores_do_not_depend_on_its_neighbours(method, table):
    scores_BK = score(method, frames(), table)
    order = torch.tensor([2, 0, 1])
    same(score(method, frames()[order], table), scores_BK[order])
    same(score(method, frames()[1:2], table), scores_BK[1:2])


def test_a_classs_score_does_not_depend_on_its_place(method, tiny):
    order = [3, 1, 0, 2]
    straight = tabulate_texts(text_rows(LABELS), LABELS, tiny)
    turned = tabulate_texts(text_rows(LABELS), [LABELS[k] for k in order], tiny)
    same(score(method, frames(), turned), score(method, frames(), straight)[:, order])


def test_a_video_is_its_trunks_tokens_encoded(method):
    tokens = method.image_tokens(frames())
    assert set(tokens) == set(method.levels)
    num_tokens = 1 + (PX // PATCHES) ** 2 if method.patches else 1
    assert all(t.shape == (B, T, num_tokens, method.backbone.width) for t in tokens.values())
    same(method.encode_video(frames()), method.encode_tokens(tokens))


def test_the_trunk_sees_each_frame_alone(method):
    """So that prediction may put its tokens in another order instead of running it again."""
    backwards, tokens = method.image_tokens(frames().flip(1)), method.image_tokens(frames())
    for level, tokens_BTNV in tokens.items():
        same(backwards[level], tokens_BTNV.flip(1))


def test_bytes_are_normalised_as_clip_does(method):
    frames_BTCHW = torch.randint(256, (1, 2, 3, PX, PX), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    mean = torch.tensor((0.48145466, 0.4578275, 0.40821073)).view(3, 1, 1)
    std = torch.tensor((0.26862954, 0.26130258, 0.27577711)).view(3, 1, 1)
    same(method.encode_video(frames_BTCHW), method.encode_video((frames_BTCHW / 255 - mean) / std))


@pytest.mark.parametrize("num_frames", [1, 3, 16])
def test_any_number_of_frames_will_do(method, table, num_frames):
    scores_BK = score(method, frames(num_frames), table)
    assert scores_BK.shape == (B, K)
    assert torch.isfinite(scores_BK).all()


def test_only_methods_that_say_so_see_the_order_of_frames(name, method, table):
    change = (score(method, frames().flip(1), table) - score(method, frames(), table)).abs().max()
    assert (change > 1e-3) if name in SEES_ORDER else (change < 1e-4)


@pytest.mark.parametrize("trunk", ["trained", "frozen"])
def test_the_gradient_reaches_whatever_trains(name, method, table, trunk):
    if not method.trains:
        pytest.skip("there is nothing to train")
    choose_trained(
        method, TrainingOptions(image_encoder=trunk, text_encoder="trained" if trunk == "trained" else "frozen")
    )
    loss_of(method, method.encode_video(frames()), method.encode_texts(table), 0.1).backward()
    moved = {n for n, p in method.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert moved == {n for n, p in method.named_parameters() if p.requires_grad}
    assert set(method.new_parameters()) <= moved
    assert ("backbone.clip.visual.conv1.weight" in moved) == (trunk == "trained")
    assert ("backbone.clip.ln_final.weight" in moved) == (trunk == "trained")
    assert {"backbone.clip.visual.ln_post.weight", "backbone.clip.visual.proj"} <= moved
    assert not moved & {"backbone.clip.logit_scale", "backbone.clip.token_embedding.weight"}


def test_what_was_trained_can_be_saved_and_put_back(name, method, table, tiny_folder, tmp_path):
    choose_trained(method, TrainingOptions(image_encoder="trained", text_encoder="trained"))
    save_trained(method, tmp_path / "checkpoint.safetensors", {"run": name})
    other = build(load_backbone(tiny_folder), name)
    with torch.no_grad():  # not saved, since they do not train: as in the backbone's folder
        for parameter, own in zip(other.parameters(), method.parameters(), strict=True):
            if not own.requires_grad:
                parameter.copy_(own)
    assert not torch.equal(score(other, frames(), table), score(method, frames(), table))
    assert load_trained(other, tmp_path / "checkpoint.safetensors") == {"run": name}
    assert torch.equal(score(other, frames(), table), score(method, frames(), table))


def test_a_checkpoint_of_another_method_is_refused(tiny, tiny_folder, tmp_path):
    method = build(tiny, "stan")
    save_trained(method, tmp_path / "stan.safetensors", {})
    with pytest.raises(ValueError, match=r"stan\.safetensors: parameter branch\..* does not fit this method"):
        load_trained(build(load_backbone(tiny_folder), "mean_pool"), tmp_path / "stan.safetensors")


# What each method says that it equals before training.


def test_mean_pool_before_training_is_zero_shot(tiny, table):
    scores_BK = score(build(tiny, "zero_shot"), frames(), table)
    assert torch.equal(score(build(tiny, "mean_pool"), frames(), table), scores_BK)
    # and that is: the cosine of the mean frame feature and the mean text feature, times the inverse temperature
    with torch.inference_mode():
        video_BD = tiny.clip.encode_image(frames().flatten(0, 1)).unflatten(0, (B, T)).mean(1)
        text_KD = torch.stack([F.normalize(said(tiny, label), dim=-1).mean(0) for label in LABELS])
        cosine_BK = F.normalize(video_BD, dim=-1) @ F.normalize(text_KD, dim=-1).T
        same(scores_BK, cosine_BK * tiny.clip.logit_scale.exp())


def names_of(backbone):
    return tabulate_texts(text_rows(LABELS, descriptions=False), LABELS, backbone)


def said_by(backbone, rows) -> torch.Tensor:
    """The features of these rows' sentences, from open_clip itself."""
    return backbone.clip.encode_text(backbone.tokenizer([row["sentence"] for row in rows]))


def said(backbone, label, kinds=("name", "motion")) -> torch.Tensor:
    """The features of a class's sentences, from open_clip itself."""
    sentences = [row["sentence"] for row in text_rows([label]) if row["kind"] in kinds]
    return backbone.clip.encode_text(backbone.tokenizer(sentences))


def test_stan_before_training_sees_order_by_its_time_embedding_alone(tiny, table):
    def change(time_std: float) -> float:
        method = build(tiny, "stan", time_std=time_std)
        return (score(method, frames().flip(1), table) - score(method, frames(), table)).abs().max().item()

    assert change(0.0) < 1e-4
    assert change(1.0) > 1e-3


@pytest.mark.parametrize(
    ("variant", "temporal"), [("code", "attention"), ("code", "conv3d"), ("paper", "conv_bottleneck")]
)
def test_stans_temporal_half_starts_as_the_identity(tiny, variant, temporal):
    branch = build(tiny, "stan", variant=variant, temporal=temporal).branch
    patches_BLTV = torch.randn(B, 16, T, tiny.width)
    for module in branch.temporal:
        assert torch.equal(module(patches_BLTV, branch.grid), patches_BLTV)
    for ours, block in zip(branch.spatial, tiny.layers[-2:], strict=True):
        for (_, a), (_, b) in zip(ours.named_parameters(), block.named_parameters(), strict=True):
            assert torch.equal(a, b)
            assert a is not b


def test_stan_refuses_more_frames_than_it_has_times_for_and_more_layers_than_clip(tiny):
    method = build(tiny, "stan")
    tokens = {level: torch.zeros(1, 65, 17, tiny.width) for level in method.levels}
    with pytest.raises(ValueError, match=r"at most 64 frames .* raise its option max_frames"):
        method.encode_tokens(tokens)
    assert torch.isfinite(build(tiny, "stan", max_frames=65).encode_tokens(tokens)).all()
    with pytest.raises(ValueError, match="layers is 5, but the backbone has 4 layers"):
        build(tiny, "stan", layers=5)
    with pytest.raises(ValueError, match=r"levels is \[3, 5\], but the backbone has 4 layers"):
        build(tiny, "stan", levels=[3, 5])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"temporal": "conv_bottleneck"}, "temporal: conv_bottleneck is of variant: paper"),
        ({"variant": "paper", "temporal": "conv3d"}, "temporal: conv3d is of variant: code"),
        ({"variant": "paper", "drop_path": 0.1}, "drop_path: the paper has none"),
        ({"dropout": 0.1}, "dropout: the released code has none"),
        ({"intra_frame": False, "temporal": "none"}, "intra_frame: false needs temporal: attention, not none"),
        ({"levels": [1, 2, 3]}, "levels: 3 levels for 2 layers of the branch"),
        ({"levels": [3, 2]}, "must rise from 1"),
        ({"levels": [0, 2]}, "must rise from 1"),
    ],
)
def test_stan_refuses_what_cannot_be_both(tiny, options, said):
    with pytest.raises(ValueError, match=said):
        build(tiny, "stan", **options)


STANS = [
    {"variant": "paper", "dropout": 0.1},
    {"variant": "paper", "temporal": "conv_bottleneck"},
    {"temporal": "conv3d"},
    {"levels": [1, 3]},
    {"multi_level": False},
    {"variant": "paper", "multi_level": False},
    {"temporal": "none"},
    {"intra_frame": False},
    {"variant": "paper", "intra_frame": False},
    {"head": "mug"},
]


@pytest.mark.parametrize("options", STANS, ids=str)
def test_every_stan_scores_trains_all_it_adds_and_sees_order(tiny, table, options):
    method = build(tiny, "stan", **options)
    stir(method)
    scores_BK = score(method, frames(), table)
    assert torch.isfinite(scores_BK).all()
    assert (score(method, frames().flip(1), table) - scores_BK).abs().max() > 1e-4
    same(score(method, frames()[1:2], table), scores_BK[1:2])
    choose_trained(method.train(), TrainingOptions(image_encoder="frozen", text_encoder="frozen"))
    loss_of(method, method.encode_video(frames()), method.encode_texts(table)).backward()
    silent = [n for n, p in method.new_parameters().items() if p.grad is None or not p.grad.any()]
    assert not silent


def test_stans_levels_say_what_feeds_the_branch(tiny):
    """Only the tokens of the levels, and of the last layer's class token, change the result."""

    def reads(**options) -> set[int]:
        method = build(tiny, "stan", **options)
        tokens = tiny.visual_tokens(frames(), (1, 2, 3, 4))
        before, found = method.encode_tokens(tokens), set()
        for level in tokens:
            noise = {level: tokens[level] + torch.randn(tokens[level].shape) * (torch.arange(17) > 0)[:, None]}
            if not torch.equal(method.encode_tokens(tokens | noise), before):
                found.add(level)
        return found

    with torch.inference_mode():
        assert reads() == {3, 4}
        assert reads(layers=3) == {2, 3, 4}
        assert reads(levels=[1, 3]) == {1, 3}
        assert reads(levels=[1, 3], multi_level=False) == {1}
        assert reads(intra_frame=False) == set()  # class tokens alone
    assert build(tiny, "stan", levels=[1, 3]).levels == (1, 3, 4)


@torch.inference_mode()
def test_papers_stan_starts_as_the_text_says(tiny):
    """The branch's input: mean class token, own positions; later levels through a projection that starts as identity."""
    method = build(tiny, "stan", variant="paper", temporal="none", layers=1)
    method.branch.space_embed.normal_()
    tokens = method.image_tokens(frames())
    cls_B1V, patches_BLTV = method.branch.start(tokens[4][:, :, 0], tokens[4][:, :, 1:], tiny.embeddings())
    same(cls_B1V[:, 0], tokens[4][:, :, 0].mean(1))
    here_BLTV = tokens[4][:, :, 1:].transpose(1, 2) + method.branch.space_embed[:, None] + method.branch.time_embed[:T]
    same(patches_BLTV, here_BLTV)
    two = build(tiny, "stan", variant="paper").branch
    assert torch.equal(two.project[0].weight, torch.eye(tiny.width))
    x = torch.randn(B, 16, T, tiny.width)
    one, q_k_v = two.temporal[0].attn, two.temporal[0].attn.in_proj(x).chunk(3, -1)
    weight = (q_k_v[0] @ q_k_v[1].transpose(-1, -2) / tiny.width**0.5).softmax(-1)  # one head, sqrt(V)
    same(two.temporal[0](x, two.grid), x + one.out_proj(weight @ q_k_v[2]))


def test_recomputing_changes_memory_and_not_the_gradient(tiny, tiny_folder, table):
    found = []
    for gradient_checkpointing in (False, True):
        method = build(load_backbone(tiny_folder), "stan").train()
        choose_kernels(method, TrainingOptions(gradient_checkpointing=gradient_checkpointing), torch.device("cpu"))
        kept = 0

        def count(tensor):
            nonlocal kept
            kept += tensor.nbytes
            return tensor

        torch.manual_seed(5)  # drop path
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            loss = method.encode_video(frames()).square().mean()
        loss.backward()
        found.append((kept, loss.detach(), [p.grad for p in method.parameters() if p.grad is not None]))
    (much, loss, grads), (little, again, equal) = found
    assert little < much / 3
    torch.testing.assert_close(again, loss)
    torch.testing.assert_close(equal, grads)


def test_mugs_scores_of_a_class_are_its_sentences_mean(tiny, table):
    method = build(tiny, "stan", head="mug")
    names, motions = (
        tabulate_texts([{**r, "kind": "name"} for r in text_rows(LABELS) if keep(r)], LABELS, tiny)
        for keep in (lambda r: r["kind"] == "name", lambda r: r["kind"] == "motion")
    )
    whole, name, motion = (score(method, frames(), texts) for texts in (table, names, motions))
    same(whole, (name + 2 * motion) / 3)


@torch.inference_mode()
def test_seq_transformer_before_training_is_clips_text_blocks_over_frames(tiny):
    """CLIP4Clip's start: open_clip's own blocks, without their mask, with their positions."""
    frames_BTD = tiny.clip.encode_image(frames().flatten(0, 1)).unflatten(0, (B, T))
    x = frames_BTD + tiny.clip.positional_embedding[:T]
    for block in tiny.clip.transformer.resblocks:  # three of them, where CLIP4Clip takes four
        x = block(x)
    video_BD = build(tiny, "seq_transformer").encode_video(frames())
    same(video_BD, F.normalize(x + frames_BTD, dim=-1).mean(1))
    one = build(tiny, "seq_transformer", layers=1)
    x = tiny.clip.transformer.resblocks[0](frames_BTD + tiny.clip.positional_embedding[:T])
    same(one.encode_video(frames()), F.normalize(x + frames_BTD, dim=-1).mean(1))


@torch.inference_mode()
def test_seq_transformer_as_actionclip_starts_random_and_averages_frames_as_they_are(tiny):
    method = build(tiny, "seq_transformer", init="actionclip")
    assert len(method.blocks) == 6
    assert method.blocks[0].block.mlp.c_fc.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert method.position_PD.std().item() == pytest.approx(0.02, rel=0.05)
    frames_BTD = tiny.clip.encode_image(frames().flatten(0, 1)).unflatten(0, (B, T))
    x = frames_BTD + method.position_PD[:T]
    for block in method.blocks:
        x = block(x)
    same(method.encode_video(frames()), (x + frames_BTD).mean(1))


@pytest.mark.parametrize("init", ["clip4clip", "actionclip"])
def test_seq_transformer_sees_order_by_its_positions_alone(tiny, table, init):
    method = build(tiny, "seq_transformer", init=init)
    method.position_PD.data.zero_()
    same(score(method, frames().flip(1), table), score(method, frames(), table))
    method.position_PD.data.normal_()
    assert (score(method, frames().flip(1), table) - score(method, frames(), table)).abs().max() > 1e-3


def test_seq_transformer_adds_the_published_numbers_of_parameters():
    backbone = OpenClipViT(Architecture("ViT-B-32"))
    added = {
        init: sum(p.numel() for p in build(backbone, "seq_transformer", init=init).new_parameters().values())
        for init in ("clip4clip", "actionclip")
    }
    assert added == {"clip4clip": 12_648_960, "actionclip": 18_953_728}  # the papers' code: 12.65 M, 18.95 M


def test_seq_transformer_refuses_more_frames_than_positions_and_more_copies_than_blocks(tiny):
    with pytest.raises(ValueError, match="at most 32 frames"):
        build(tiny, "seq_transformer").encode_tokens({4: torch.zeros(1, 33, 1, tiny.width)})
    with pytest.raises(ValueError, match="layers is 4, but init: clip4clip has only 3 text layers"):
        build(tiny, "seq_transformer", layers=4)


@torch.inference_mode()
def test_moteds_texts_before_training_are_names_and_the_descriptions_of_each_phase(tiny, table):
    """Here every class has a sentence about its start and one about its end; of the whole clip both speak."""
    three = {"phases": ["whole", "start", "end"]}
    text = build(tiny, "moted", **three).encode_texts(table)
    for k, label in enumerate(LABELS):
        start_D, end_D = F.normalize(said(tiny, label, ("motion",)), dim=-1)
        same(text.appearance[k], F.normalize(said(tiny, label, ("name",)), dim=-1).mean(0))
        same(text.motion[k], torch.stack([(start_D + end_D) / 2, start_D, end_D]))
    for options in ({"reader": False}, {"weights": "learned"}):
        assert torch.equal(build(tiny, "moted", **three, **options).encode_texts(table).motion, text.motion)
    same(build(tiny, "moted").encode_texts(table).motion, text.motion[:, 1:])
    same(build(tiny, "moted", phases=["whole"]).encode_texts(table).motion, text.motion[:, :1])


@torch.inference_mode()
def test_whole_speaks_of_the_whole_where_it_is_one_phase_of_several_and_of_everything_where_it_is_the_only_one(tiny):
    rows = told(("start", "low"), ("whole", "it climbs"), ("end", "high"))
    table = tabulate_texts(rows, ["rising"], tiny)
    low_D, climbs_D, high_D = F.normalize(said_by(tiny, rows[1:]), dim=-1)
    several = build(tiny, "moted", phases=["whole", "end"], reader=False).encode_texts(table)
    same(several.motion[0], torch.stack([climbs_D, high_D]))
    alone = build(tiny, "moted", phases=["whole"], reader=False).encode_texts(table)
    same(alone.motion[0], (low_D + climbs_D + high_D)[None] / 3)


@torch.inference_mode()
def test_moteds_learned_weights_are_a_softmax_over_the_sentences_of_a_class_and_phase(tiny):
    rows = told(("start", "low"), ("start", "at the bottom"), ("end", "high"))
    method = build(tiny, "moted", weights="learned", reader=False)
    method.scorer_D.normal_(std=4)
    start_SD = F.normalize(said_by(tiny, rows[1:3]), dim=-1)
    weight_S = (start_SD @ method.scorer_D).softmax(0)
    assert weight_S.max() > 0.55  # not uniform, so that the test tells
    motion_PD = method.encode_texts(tabulate_texts(rows, ["rising"], tiny)).motion[0]
    same(motion_PD[0], weight_S @ start_SD)
    same(motion_PD[1], F.normalize(said_by(tiny, rows[3:]), dim=-1)[0])


@pytest.mark.parametrize("visual", ["stan", "seq_transformer", "mean_pool", None])
@torch.inference_mode()
def test_moteds_motion_before_training_is_ordered_descriptions(tiny, table, visual):
    """Whatever temporal method is inside, and whatever reads the words: both start at zero."""
    moted = build(tiny, "moted", visual=visual, visual_options={}, weights="learned")
    ordered = build(tiny, "ordered_descriptions")
    motion_BK = score(moted, frames(7), table) - score(build(tiny, "mean_pool"), frames(7), names_of(tiny))
    same(motion_BK, score(ordered, frames(7), table))


@torch.inference_mode()
def test_moteds_video_before_training_is_the_mean_frame_of_each_phase(tiny):
    """Seven frames: the start is the first two, the end the last two."""
    frames_BTD = tiny.clip.encode_image(frames(7).flatten(0, 1)).unflatten(0, (B, 7))
    parts = {"whole": frames_BTD.mean(1), "start": frames_BTD[:, :2].mean(1), "end": frames_BTD[:, 5:].mean(1)}
    for phases in (["start", "end"], ["end", "whole"], ["whole"]):
        video = build(tiny, "moted", phases=phases).encode_video(frames(7))
        same(video.appearance, parts["whole"])
        same(video.motion, torch.stack([parts[phase] for phase in phases], 1))


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
        for row in told(("start", f"{label} waits"), ("start", "it waits"), ("end", "over"), label=label)
    ]
    table = tabulate_texts(rows, LABELS, tiny)
    method = build(tiny, "moted", **options)
    stir(method)
    choose_trained(method.train(), TrainingOptions(image_encoder="frozen", text_encoder="frozen"))
    with torch.no_grad():
        frozen = method.encode_words(table)  # as training does (training/tasks.py)
    text = method.pool_texts(frozen, table)
    assert torch.isfinite(method.score(method.encode_video(frames()), text)).all()
    loss_of(method, method.encode_video(frames()), text).backward()
    silent = [n for n, p in method.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert not silent


@torch.inference_mode()
def test_moteds_reader_looks_at_a_classs_own_words_and_at_when_they_happen(tiny, table):
    method = build(tiny, "moted", phases=["whole"])
    stir(method)
    whole = method.encode_texts(table).motion
    rows = text_rows(LABELS)
    alone = [row for row in rows if row["label"] == "growing"]
    same(method.encode_texts(tabulate_texts(alone, ["growing"], tiny)).motion[0], whole[2])
    swapped = [row | {"phase": {"start": "end", "end": "start"}.get(row["phase"], "whole")} for row in rows]
    change = (method.encode_texts(tabulate_texts(swapped, LABELS, tiny)).motion - whole).abs().max()
    assert change > 1e-3


def test_moted_with_every_weight_at_zero_is_mean_pool_on_the_names(tiny, table):
    moted = build(tiny, "moted", visual="mean_pool", visual_options={}, align=0, hard=0, motion=0)
    mean_pool = build(tiny, "mean_pool")
    names = tabulate_texts(text_rows(LABELS, descriptions=False), LABELS, tiny)
    same(score(moted, frames(), table), score(mean_pool, frames(), names))

    def loss(method, texts):
        video, text = method.encode_video(frames()), method.encode_texts(texts)
        return loss_of(method, video, text, 0.1)

    same(loss(moted, table), loss(mean_pool, names))
    for weight in ("align", "hard", "motion"):  # each of the three parts does something
        one = build(tiny, "moted", **{"align": 0, "hard": 0, "motion": 0, weight: 1})
        if weight == "motion":
            assert not torch.allclose(score(one, frames(), table), score(moted, frames(), table))
        else:
            assert loss(one, table) > loss(moted, table) + 1e-3


def test_moteds_hard_loss_is_among_a_class_and_its_rivals(tiny, table):
    method = build(tiny, "moted", align=0, hard=1)
    video, text = method.encode_video(frames()), method.encode_texts(table)
    names_only = F.cross_entropy(tiny.logits(cosine_scores(video.appearance, text.appearance)), TARGET_B)
    cosines = [cosine_scores(video.motion[:, p], text.motion[:, p]) for p in range(2)]
    motion_BK = tiny.logits(sum(cosines) / 2)
    pairs = [(0, 0, 1), (1, 1, 0), (2, 3, 2)]  # clip, its class, that class's rival
    two_way = [F.softplus(motion_BK[b, rival] - motion_BK[b, own]) for b, own, rival in pairs]
    same(loss_of(method, video, text), names_only + torch.stack(two_way).mean())


@pytest.mark.parametrize("name", ["moted", "ordered_descriptions", "description_ensemble"])
def test_a_class_without_a_description_is_refused(tiny, name):
    names = tabulate_texts(text_rows(LABELS, descriptions=False), LABELS, tiny)
    with pytest.raises(ValueError, match=f"{name}: class 'rising' has no usable motion description"):
        build(tiny, name).encode_texts(names)


def told(*sentences: tuple[str, str], label: str = "rising") -> list[dict]:
    """Rows of one class: its name, then descriptions as (phase, sentence)."""
    rows = [("name", "whole", label), *(("motion", phase, said) for phase, said in sentences)]
    return [
        {"label": label, "kind": k, "phase": p, "sentence": s, "source": "test", "status": "ok"} for k, p, s in rows
    ]


@torch.inference_mode()
def test_description_ensembles_score_is_the_mean_cosine_of_a_classs_descriptions(tiny, table):
    method = build(tiny, "description_ensemble")
    frame_BTD = tiny.clip.encode_image(frames().flatten(0, 1)).unflatten(0, (B, T))
    video_BD = F.normalize(frame_BTD.mean(1), dim=-1)
    cosines = [video_BD @ F.normalize(said(tiny, label, ("motion",)), dim=-1).T for label in LABELS]
    same(score(method, frames(), table), tiny.logits(torch.stack([c.mean(1) for c in cosines], 1)))
    one = told(("whole", "it climbs"))
    name = [{**one[1], "kind": "name"}]
    same(
        score(method, frames(), tabulate_texts(one, ["rising"], tiny)),
        score(build(tiny, "zero_shot"), frames(), tabulate_texts(name, ["rising"], tiny)),
    )


@pytest.mark.parametrize(("num_frames", "num_steps"), [(1, 1), (6, 1), (7, 2), (7, 3), (6, 6), (2, 3)])
def test_the_best_alignment_is_the_best_of_all_monotone_assignments(num_frames, num_steps):
    """Against all of them: where in the clip each next step begins. Two frames for three steps are four frames."""
    cosine_BKTM = torch.randn(4, 3, num_frames, 6, generator=torch.Generator().manual_seed(4))
    frame_T = sorted([*range(num_frames)] * -(-6 // num_frames))
    values_BKA = []
    for begins in itertools.combinations(range(1, len(frame_T)), num_steps - 1):
        step_T = [sum(t >= b for b in begins) for t in range(len(frame_T))]
        values_BKA.append(cosine_BKTM[:, :, frame_T, step_T].mean(-1))
    found_BK = best_alignment(cosine_BKTM, torch.full((3,), num_steps))
    same(found_BK, torch.stack(values_BKA).amax(0))


@torch.inference_mode()
def test_ordered_descriptions_of_two_steps_is_the_best_moment_to_change(tiny, table):
    found_BK = score(build(tiny, "ordered_descriptions", steps="phases"), frames(), table) / tiny.clip.logit_scale.exp()
    frame_BTD = F.normalize(tiny.clip.encode_image(frames().flatten(0, 1)).unflatten(0, (B, T)), dim=-1)
    for k, label in enumerate(LABELS):
        start_BT, end_BT = (frame_BTD @ F.normalize(said(tiny, label, ("motion",)), dim=-1).T).unbind(-1)
        cuts = [(start_BT[:, :t].sum(1) + end_BT[:, t:].sum(1)) / T for t in range(1, T)]
        same(found_BK[:, k], torch.stack(cuts).amax(0))


def test_steps_are_in_the_order_of_time_and_of_the_table(tiny):
    rows = told(("end", "e1"), ("whole", "w1"), ("start", "s1"), ("start", "s2"), ("whole", "w2"))
    table = tabulate_texts([*rows, *told(("whole", "w3"), label="falling")], ["rising", "falling"], tiny)
    assert steps_of_sentences(table, each=True).tolist() == [-1, 4, 2, 0, 1, 3, -1, 0]
    assert steps_of_sentences(table, each=False).tolist() == [-1, 1, -1, 0, 0, -1, -1, 0]
    only_end = tabulate_texts(told(("end", "e1"), ("whole", "w1")), ["rising"], tiny)
    assert steps_of_sentences(only_end, each=False).tolist() == [-1, 0, -1]


@pytest.mark.parametrize("steps", ["ends", "phases", "sentences"])
def test_classes_may_have_as_many_sentences_as_they_like(tiny, steps):
    """A class's score is its own affair: the same beside a class with more or fewer steps."""
    rows = told(("start", "low"), ("end", "high")), told(("whole", "it sinks"), label="falling")
    method = build(tiny, "ordered_descriptions", steps=steps)
    both = score(method, frames(), tabulate_texts([*rows[0], *rows[1]], ["rising", "falling"], tiny))
    for k, label in enumerate(["rising", "falling"]):
        same(score(method, frames(), tabulate_texts(rows[k], [label], tiny)), both[:, k : k + 1])


def test_a_table_is_encoded_as_sentence_by_sentence_padding_apart(tiny):
    """Each distinct sentence once, in groups of alike length, and every one of them back in its place."""
    sentences = ["up", "it goes " + "up and " * 9 + "up", "up", "a " * 28, "nothing is there"]
    table = tabulate_texts(told(*(("start", s) for s in sentences)), ["rising"], tiny)
    rows = []
    encode, tiny.encode_text = tiny.encode_text, lambda tokens: (rows.append(tokens.ids_KL.shape), encode(tokens))[1]
    with torch.inference_mode():
        words, (sentence_SD, word_SLD) = encode_table(tiny, table), encode(table.tokens)
    same(words.sentence_SD, sentence_SD)
    seen_SL1 = table.tokens.mask_KL[..., None]
    same(words.word_SLD * seen_SL1, word_SLD * seen_SL1)
    assert sum(n for n, _ in rows) == 5  # "rising" and four distinct sentences
    assert sum(n * length for n, length in rows) < table.tokens.ids_KL.numel() / 2


def test_a_class_without_a_name_is_refused(tiny):
    rows = [row for row in text_rows(LABELS) if row["label"] != "falling" or row["kind"] != "name"]
    with pytest.raises(ValueError, match="class 'falling' has no usable name"):
        tabulate_texts(rows, LABELS, tiny)
