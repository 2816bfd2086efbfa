"""Methods inside the encoders: what they equal before training, their parameters, what trains, and what they refuse."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from kinetext.backbones.checkpoint import load_backbone
from kinetext.methods.base import build_method, configure_method
from left import weights
from method_inputs import assert_same, build, name_table, noise_clips, perturb, score

pytestmark = pytest.mark.usefixtures("on_cpu")

BOTH = {"before": "both"}
PROMPTS = {"vision_prompts": 3, "vision_depth": 2, "text_prompts": 2, "text_depth": 2}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("st_adapter", {}),
        ("st_adapter", BOTH),
        ("st_adapter", {**BOTH, "kernel": (3, 3, 3)}),
        ("aim", {}),
        ("aim", {"before_time": True, "scale": 1.0}),
    ],
)
def test_zero_adapters_equal_mean_pool(tiny, name, options):
    method, plain = build(tiny, name, **options), build(tiny, "mean_pool")
    assert_same(score(method, noise_clips(), name_table(tiny)), score(plain, noise_clips(), name_table(tiny)))
    perturb(nn.ModuleList(m for n, m in method.named_children() if n != "backbone"))
    moved = score(method, noise_clips(), name_table(tiny))
    assert not torch.allclose(moved, score(plain, noise_clips(), name_table(tiny)), atol=1e-2)


def test_the_mean_of_tokens_is_taken_before_the_last_norm(tiny):
    method = build(tiny, "st_adapter", average="tokens")
    with torch.inference_mode():
        tokens = tiny.visual_tokens(noise_clips(), (tiny.num_layers,))
        wanted = tiny.project(tiny.summary(tokens[tiny.num_layers]).mean(1))
        assert_same(method.encode_video(noise_clips()), wanted)


def test_a_still_clip_is_clips_own_except_at_its_ends(tiny):
    """Frames with all neighbours see each of their own keys three times, which the softmax does not notice."""
    still_BTCHW = noise_clips(1).expand(-1, 6, -1, -1, -1)
    method = build(tiny, "window_attention")
    with torch.inference_mode():
        plain = tiny.visual_tokens(still_BTCHW, (1,))[1]
        windowed = tiny.visual_tokens(still_BTCHW, (1,), method.layer)[1]
    assert_same(windowed[:, 1:-1], plain[:, 1:-1])
    assert not torch.allclose(windowed[:, 0], plain[:, 0], atol=1e-3)
    assert list(method.new_parameters()) == []


class B16(SimpleNamespace):
    """The geometry of ViT-B/16, without weights: what methods ask for when they add parameters."""

    def __init__(self, **changed):
        layers = (SimpleNamespace(num_heads=12),) * 12
        sizes = {"width": 768, "embed_dim": 512, "num_layers": 12, "grid": (14, 14), "prefix_tokens": 1}
        other = {"layers": layers, "text_layers": layers, "pools_patches": False, "takes_prompts": True}
        super().__init__(**sizes, **other, text_positions=lambda: torch.empty(77, 512))
        vars(self).update(changed)


def count(name, backbone=None, **options):
    cls, config = configure_method(name, options)
    return sum(p.numel() for p in cls(backbone or B16(), config).new_parameters().values())


def test_parameters_on_vit_b_16_are_the_published_ones():
    one = 592_512  # an ST-Adapter; the last one before an MLP reaches no class token and is not built
    assert count("st_adapter") + one == 7_110_144
    assert count("st_adapter", before="both") + one == 14_220_288
    assert count("st_adapter", B16(pools_patches=True), before="both") == 14_220_288
    assert count("aim", max_frames=8) == 10_651_392 + 8 * 768
    assert count("aim", before_time=True, max_frames=8) == 14_201_856 + 8 * 768
    assert count("window_attention") == 0
    assert count("vl_prompts") == 184_320
    few_shot = {"vision_prompts": 10, "vision_depth": 12, "text_prompts": 10, "text_depth": 12}
    assert count("vl_prompts", **few_shot) == 153_600


def test_drop_path_drops_whole_clips(tiny):
    method = build(tiny, "aim", drop_path=0.5)
    perturb(method.adapters)
    method.drop_path.train()
    torch.manual_seed(1)
    dropped = []
    method.drop_path[-1].register_forward_hook(lambda module, inputs, output: dropped.append((output == 0).flatten(1)))
    with torch.inference_mode():
        method.encode_video(noise_clips())
    shares_B = torch.cat([zero_BM.float().mean(1) for zero_BM in dropped])
    assert 0 < shares_B.sum() < len(shares_B)
    assert set(shares_B.tolist()) == {0.0, 1.0}


def test_prompts_are_drawn_from_a_normal_distribution_of_002(tiny):
    method = build(tiny, "vl_prompts", vision_prompts=64, text_prompts=24)
    for prompts in (method.vision_DPV, method.text_DPW):
        values = prompts.detach().flatten()
        assert len(values) > 9_000
        assert abs(values.mean()) < 4 * 0.02 / len(values) ** 0.5
        assert values.std().item() == pytest.approx(0.02, rel=0.03)
        assert (values.abs() < 0.02).float().mean().item() == pytest.approx(0.683, abs=0.02)


def test_prompts_stand_where_the_original_has_them(tiny):
    """Visual ones last, in front of the norm; those of later layers replace them; none is left after the last layer."""
    method, seen = build(tiny, "vl_prompts", **PROMPTS), []
    layer = method.layer
    for number, one in enumerate(tiny.layers, 1):
        one.register_forward_hook(lambda module, inputs, output, number=number: seen.append((number, inputs[0])))
    with torch.inference_mode():
        tokens = tiny.visual_tokens(noise_clips(), (tiny.num_layers,), layer, method.change_embedding)
    N = tiny.prefix_tokens + tiny.grid[0] * tiny.grid[1]
    assert tokens[tiny.num_layers].shape[2] == N
    assert [x.shape[1] for _, x in seen] == [N + 3] * tiny.num_layers
    assert_same(seen[0][1][0, N:], tiny.visual.ln_pre(method.vision_DPV[0]).detach())
    assert torch.equal(seen[1][1][0, N:], method.vision_DPV[1].detach())
    assert not torch.equal(seen[2][1][0, N:], seen[2][1][1, N:])  # from here on they are each frame's


def test_long_texts_lose_words_and_keep_their_end(tiny, caplog):
    method = build(tiny, "vl_prompts", text_prompts=16)
    long = tiny.tokenize(["moving right and left " * 40, "moving"])
    with torch.inference_mode():
        text_KD, word_KLD = tiny.encode_text(long, tuple(method.text_DPW))
    assert "1 of 2 texts are over 32 tokens with prompts and were cut" in caplog.text
    assert text_KD.isfinite().all()
    assert word_KLD.shape[:2] == long.ids_KL.shape


@pytest.mark.parametrize("name", ["st_adapter", "aim", "window_attention", "vl_prompts"])
def test_encoders_stay_frozen_and_new_parameters_train(trained, world, name):
    folder = trained(name, image_encoder="frozen", text_encoder="frozen", epochs=1)
    before = {f"backbone.{n}": p for n, p in load_backbone(world.backbone).named_parameters()}
    written = weights(folder)
    assert all("visual.proj" in name or "visual.ln_post" in name for name in written if name in before)
    new = {n: tensor for n, tensor in written.items() if n not in before}
    start = build_method(load_backbone(world.backbone), name, {}).new_parameters()
    assert set(new) == set(start)
    # drawn anew, random ones differ anyway; those that start at zero have moved
    assert all(tensor.any() for tensor in new.values())


def test_refusals_are_one_sentence(tiny):
    with pytest.raises(ValueError, match=r"vl_prompts: the text encoder of B16 takes no prompts; set text_depth: 0"):
        count("vl_prompts", B16(takes_prompts=False))
    assert count("vl_prompts", B16(takes_prompts=False), text_depth=0) == 9 * 16 * 768
    with pytest.raises(ValueError, match="vision_depth and text_depth are both 0"):
        configure_method("vl_prompts", {"vision_depth": 0, "text_depth": 0})
    with pytest.raises(ValueError, match=r"kernel: \[2, 1, 1\] must have odd numbers"):
        configure_method("st_adapter", {"kernel": [2, 1, 1]})
    with pytest.raises(ValueError, match="layers is 13, but the backbone has 12 layers"):
        count("st_adapter", layers=13)
    with pytest.raises(ValueError, match="aim takes at most 4 frames"):
        build(tiny, "aim", max_frames=4).encode_video(noise_clips())
