"""STAN against numbers of the original code (farewellthree/STAN @ c9dc7b6), recorded in stan_closed_form.json.

No weight file is needed: every parameter of the original is a formula of its name and of the index in it
(reference/stan.md 7.3), so the original was filled by that formula, run in float64, and its numbers noted down.
"""

import json
import zlib
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from torch import Tensor, nn

from kinetext.models.backbone import Architecture, Backbone
from kinetext.models.methods import build_method, stan

RECORDED = json.loads(Path(__file__).with_name("stan_closed_form.json").read_text())


def closed_form(name: str, shape: tuple[int, ...]) -> Tensor:
    """The original's tensor of this name: a hash of name and index (murmur3's finaliser), spread over a range."""
    z = np.arange(np.prod(shape, dtype=np.int64), dtype=np.uint64)
    z += np.uint64(zlib.crc32(name.encode()) * 2654435761 % 2**64)
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        z ^= z >> np.uint64(33)
        z *= np.uint64(factor)
    z ^= z >> np.uint64(33)
    u = torch.from_numpy((z >> np.uint64(11)).astype(np.float64)).div_(2.0**53).sub_(0.5).view(shape)
    if name in ("input", "video_feat", "text_feat"):
        return u.mul_(2.0)
    if "norm" in name and name.endswith("weight"):
        return u.mul_(0.2).add_(1.0)
    return u.mul_(0.3 if len(shape) >= 2 else 0.2)


def fill(module: nn.Module, originals: dict[str, str]) -> None:
    """Fill every parameter of `module` from the names that it has in the original."""
    names = dict(module.named_parameters())
    assert set(names) == set(originals)
    for ours, original in originals.items():
        parameter = names[ours]
        if "{qkv}" in original:  # three projections in one table
            third = (parameter.shape[0] // 3, *parameter.shape[1:])
            value = torch.cat([closed_form(original.replace("{qkv}", x), third) for x in "qkv"])
        elif original == "visual_projection.weight":
            value = closed_form(original, (parameter.shape[1], parameter.shape[0])).T
        else:
            value = closed_form(original, tuple(parameter.shape))
        parameter.data = value.contiguous()


def attention(ours: str, original: str, kinds=("weight", "bias"), glue="_") -> dict[str, str]:
    named = {f"{ours}.in_proj{glue}{kind}": f"{original}.{{qkv}}_proj.{kind}" for kind in kinds}
    return named | {f"{ours}.out_proj.{kind}": f"{original}.out_proj.{kind}" for kind in kinds}


def block(ours: str, original: str) -> dict[str, str]:
    """A layer of CLIP."""
    pairs = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    named = attention(f"{ours}.attn", f"{original}.self_attn")
    return named | {f"{ours}.{a}.{kind}": f"{original}.{b}.{kind}" for a, b in pairs.items() for kind in KINDS}


KINDS = ("weight", "bias")


def original_names(method: stan.Stan) -> tuple[dict[str, str], dict[str, str]]:
    """Name here -> name in the original, of the image tower and of the branch (reference/stan.md 7.1)."""
    tower = {
        "class_embedding": "class_embedding",
        "positional_embedding": "position_embedding.weight",
        "conv1.weight": "patch_embedding.weight",
        "proj": "visual_projection.weight",
        **{f"ln_pre.{kind}": f"pre_layrnorm.{kind}" for kind in KINDS},
        **{f"ln_post.{kind}": f"post_layernorm.{kind}" for kind in KINDS},
    }
    for layer in range(method.backbone.num_layers):
        tower |= block(f"transformer.resblocks.{layer}", f"layers.{layer}")
    branch = {"time_embed": "STAN_time_embed.weight"}
    for k, temporal in enumerate(method.branch.temporal):
        branch |= block(f"spatial.{k}", f"STAN_S_layers.{k}")
        ours, original = f"temporal.{k}", f"STAN_T_layers.{k}"
        branch |= {f"{ours}.fc.{kind}": f"{original}.temporal_fc.{kind}" for kind in KINDS}
        if isinstance(temporal, stan.TemporalConv):
            branch |= {f"{ours}.conv.{kind}": f"{original}.layers.{kind}" for kind in KINDS}
        else:
            branch |= {f"{ours}.ln.{kind}": f"{original}.layer_norm1.{kind}" for kind in KINDS}
            branch |= attention(f"{ours}.attn", f"{original}.self_attn", glue=".")
    return tower, branch


@torch.inference_mode()
def compare(method: stan.Stan, frames_BTCHW: Tensor, recorded: dict, monkeypatch) -> None:
    """Fill, run, and compare the result, one frame of it, and the state after every layer of the branch."""
    tower, branch = original_names(method)
    fill(method.backbone.visual, tower)
    fill(method.branch, branch)
    states, frames = [], []
    attend, project = stan._attend_in_space, method.backbone.project
    monkeypatch.setattr(stan, "_attend_in_space", lambda *given: states.append(attend(*given)) or states[-1])
    monkeypatch.setattr(method.backbone, "project", lambda cls: frames.append(project(cls)) or frames[-1])
    video_BD = method.eval().encode_video(frames_BTCHW)

    def near(ours: Tensor, theirs: list) -> None:
        torch.testing.assert_close(ours, torch.tensor(theirs, dtype=torch.float64), rtol=1e-9, atol=1e-9)

    for k, (cls_B1V, patches_BTLV) in enumerate(states):
        near(cls_B1V[0, 0, :4], recorded["stan_after_layer_cls_first4"][str(k)])
        near(patches_BTLV[0, 0, 0, :4], recorded["stan_after_layer_patch_first4"][str(k)])
    assert len(states) == len(recorded["stan_after_layer_cls_first4"])
    near(frames[0][0, 0, :4], recorded["frame0_first4"])
    near(video_BD[:, : len(recorded["out"][0])], recorded["out"])  # of B/32 the first 16 are recorded
    near(video_BD.norm(dim=1), recorded["out_norm"])


@pytest.fixture(scope="module")
def small_model(tmp_path_factory):
    """The recorded `tiny`: width 64, 6 layers, 4 heads, 64 px in patches of 16, joint width 32."""
    folder = tmp_path_factory.mktemp("configs")
    vision = {"image_size": 64, "layers": 6, "width": 64, "head_width": 16, "patch_size": 16}
    text = {"context_length": 32, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1}
    settings = {"embed_dim": 32, "vision_cfg": vision, "text_cfg": text}
    (folder / "kinetext-test-stan.json").write_text(json.dumps(settings))
    open_clip.add_model_config(folder)
    return Architecture("kinetext-test-stan", quick_gelu=True)


@pytest.mark.parametrize(
    ("case", "num_frames", "options"),
    [
        ("tiny_selfattn_d4_B2_T5", 5, {"layers": 4}),
        ("tiny_selfattn_d6_B2_T5", 5, {"layers": 6}),
        ("tiny_selfattn_d4_B2_T1", 1, {"layers": 4}),
        ("tiny_conv_d4_B2_T5", 5, {"layers": 4, "temporal": "conv3d"}),
    ],
)
def test_a_small_stan_gives_the_originals_numbers(small_model, case, num_frames, options, monkeypatch):
    method = build_method(Backbone(small_model), "stan", options)
    compare(method, closed_form("input", (2, num_frames, 3, 64, 64)), RECORDED[case], monkeypatch)


@pytest.fixture(scope="module")
def stan_b32():
    return build_method(Backbone(Architecture("ViT-B-32", quick_gelu=True)), "stan", {"layers": 4})


def test_four_layers_on_vit_b_add_40_million_parameters(stan_b32):
    assert sum(p.numel() for p in stan_b32.new_parameters().values()) == 40_218_624
    assert stan_b32.levels == (9, 10, 11, 12)


def test_stan_on_vit_b_32_gives_the_originals_numbers(stan_b32, monkeypatch):
    frames_BTCHW = closed_form("input", (1, 2, 3, 224, 224))
    compare(stan_b32, frames_BTCHW, RECORDED["b32_selfattn_d4_B1_T2"], monkeypatch)


@pytest.mark.parametrize("temperature", ["0.01", "0.02", "0.05"])
def test_the_originals_loss_is_the_sum_of_two_cross_entropies(temperature):
    """Ours has no retrieval loss yet; this keeps the definition that one has to meet (reference/stan.md 2.1)."""
    video_BD, text_BD = (nn.functional.normalize(closed_form(n, (12, 16))) for n in ("video_feat", "text_feat"))
    logits_BB = video_BD @ text_BD.T / float(temperature)
    own_B = torch.arange(12)
    loss = nn.functional.cross_entropy(logits_BB, own_B) + nn.functional.cross_entropy(logits_BB.T, own_B)
    assert loss.item() == pytest.approx(RECORDED["loss"][temperature], rel=1e-9)
