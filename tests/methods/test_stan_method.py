"""stan: what it equals before training, its variants, and the options that it refuses."""

import pytest
import torch

from kinetext.backbones.checkpoint import load_backbone
from kinetext.backbones.text_table import tabulate_texts
from kinetext.config.training import TrainingOptions
from kinetext.training.setup import choose_kernels, choose_trained
from method_inputs import LABELS, B, T, assert_same, build, noise_clips, perturb, score, total_loss
from worlds import text_rows


@pytest.fixture
def table(tiny):
    return tabulate_texts(text_rows(LABELS), LABELS, tiny)


def test_stan_before_training_sees_order_by_its_time_embedding_alone(tiny, table):
    def change(time_std: float) -> float:
        method = build(tiny, "stan", time_std=time_std)
        return (score(method, noise_clips().flip(1), table) - score(method, noise_clips(), table)).abs().max().item()

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
    ("options", "message"),
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
def test_stan_refuses_what_cannot_be_both(tiny, options, message):
    with pytest.raises(ValueError, match=message):
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
    perturb(method)
    scores_BK = score(method, noise_clips(), table)
    assert torch.isfinite(scores_BK).all()
    assert (score(method, noise_clips().flip(1), table) - scores_BK).abs().max() > 1e-4
    assert_same(score(method, noise_clips()[1:2], table), scores_BK[1:2])
    choose_trained(method.train(), TrainingOptions(image_encoder="frozen", text_encoder="frozen"))
    total_loss(method, method.encode_video(noise_clips()), method.encode_texts(table)).backward()
    silent = [n for n, p in method.new_parameters().items() if p.grad is None or not p.grad.any()]
    assert not silent


def test_stans_levels_say_what_feeds_the_branch(tiny):
    """Only the tokens of the levels, and of the last layer's class token, change the result."""

    def reads(**options) -> set[int]:
        method = build(tiny, "stan", **options)
        tokens = tiny.visual_tokens(noise_clips(), (1, 2, 3, 4))
        before, needed = method.encode_tokens(tokens), set()
        for level in tokens:
            noise = {level: tokens[level] + torch.randn(tokens[level].shape) * (torch.arange(17) > 0)[:, None]}
            if not torch.equal(method.encode_tokens(tokens | noise), before):
                needed.add(level)
        return needed

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
    tokens = method.image_tokens(noise_clips())
    cls_B1V, patches_BLTV = method.branch.start(tokens[4][:, :, 0], tokens[4][:, :, 1:], tiny.embeddings())
    assert_same(cls_B1V[:, 0], tokens[4][:, :, 0].mean(1))
    here_BLTV = tokens[4][:, :, 1:].transpose(1, 2) + method.branch.space_embed[:, None] + method.branch.time_embed[:T]
    assert_same(patches_BLTV, here_BLTV)
    two = build(tiny, "stan", variant="paper").branch
    assert torch.equal(two.project[0].weight, torch.eye(tiny.width))
    x = torch.randn(B, 16, T, tiny.width)
    one, q_k_v = two.temporal[0].attn, two.temporal[0].attn.in_proj(x).chunk(3, -1)
    weight = (q_k_v[0] @ q_k_v[1].transpose(-1, -2) / tiny.width**0.5).softmax(-1)  # one head, sqrt(V)
    assert_same(two.temporal[0](x, two.grid), x + one.out_proj(weight @ q_k_v[2]))


def test_recomputing_changes_memory_and_not_the_gradient(tiny, tiny_folder, table):
    runs = []
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
            loss = method.encode_video(noise_clips()).square().mean()
        loss.backward()
        runs.append((kept, loss.detach(), [p.grad for p in method.parameters() if p.grad is not None]))
    (much, loss, grads), (little, checkpointed_loss, equal) = runs
    assert little < much / 3
    torch.testing.assert_close(checkpointed_loss, loss)
    torch.testing.assert_close(equal, grads)


def test_mugs_scores_of_a_class_are_its_sentences_mean(tiny, table):
    method = build(tiny, "stan", head="mug")
    names, motions = (
        tabulate_texts([{**r, "kind": "name"} for r in text_rows(LABELS) if keep(r)], LABELS, tiny)
        for keep in (lambda r: r["kind"] == "name", lambda r: r["kind"] == "motion")
    )
    whole, name, motion = (score(method, noise_clips(), texts) for texts in (table, names, motions))
    assert_same(whole, (name + 2 * motion) / 3)
