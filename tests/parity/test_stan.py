"""STAN against numbers of the original code (farewellthree/STAN @ c9dc7b6), recorded in stan_closed_form.json.

No weight file is needed: every parameter of the original is a formula of its name and of the index in it. The
original was filled by that formula, run in float64, and its numbers were recorded. The text
tower's numbers are float32's. The file does not say how large that tower was, nor which features Mug's head was given; what
gives its numbers is written at the two tests.
"""

import json
from pathlib import Path

import open_clip
import pytest
import torch
from torch import Tensor, nn

from closed_form import uniform
from kinetext.backbones.attention import cosine_scores
from kinetext.backbones.base import TextTokens
from kinetext.backbones.open_clip_vit import Architecture, OpenClipViT
from kinetext.config.training import TrainingOptions
from kinetext.methods import stan
from kinetext.methods.base import build_method
from kinetext.methods.stan.cross_frame import TimeConv
from kinetext.methods.stan.mug import mug_scores
from kinetext.training.setup import choose_kernels

RECORDED = json.loads(Path(__file__).with_name("stan_closed_form.json").read_text())


def closed_form(name: str, shape: tuple[int, ...]) -> Tensor:
    """The original's tensor of this name: a hash of name and index (murmur3's finaliser), spread over a range."""
    u = uniform(name, shape)
    if name in ("input", "video_feat", "text_feat", "mug_video", "mug_text"):
        return u.mul_(2.0)
    if "norm" in name and name.endswith("weight"):
        return u.mul_(0.2).add_(1.0)
    return u.mul_(0.3 if len(shape) >= 2 else 0.2)


def fill(module: nn.Module, originals: dict[str, str], excluded: tuple[str, ...] = ()) -> None:
    """Fill every parameter of `module` from the names that it has in the original."""
    names = {name: p for name, p in module.named_parameters() if not name.startswith(excluded or "-")}
    assert set(names) == set(originals)
    for ours, original in originals.items():
        parameter = names[ours]
        if "{qkv}" in original:  # three projections in one table
            third = (parameter.shape[0] // 3, *parameter.shape[1:])
            value = torch.cat([closed_form(original.replace("{qkv}", x), third) for x in "qkv"])
        elif original in ("visual_projection.weight", "text_projection.weight"):
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
    """Name here -> name in the original, of the image tower and of the branch."""
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
        branch |= block(f"spatial.{k}.block", f"STAN_S_layers.{k}")
        ours, original = f"temporal.{k}", f"STAN_T_layers.{k}"
        branch |= {f"{ours}.fc.{kind}": f"{original}.temporal_fc.{kind}" for kind in KINDS}
        if isinstance(temporal, TimeConv):
            branch |= {f"{ours}.conv.{kind}": f"{original}.layers.{kind}" for kind in KINDS}
        else:
            branch |= {f"{ours}.ln.{kind}": f"{original}.layer_norm1.{kind}" for kind in KINDS}
            branch |= attention(f"{ours}.attn", f"{original}.self_attn", glue=".")
    return tower, branch


def near(ours: Tensor, theirs: list) -> None:
    torch.testing.assert_close(ours, torch.tensor(theirs, dtype=torch.float64), rtol=1e-9, atol=1e-9)


def filled(method: stan.Stan) -> stan.Stan:
    tower, branch = original_names(method)
    fill(method.backbone.visual, tower)
    fill(method.branch, branch)
    return method.eval()


@torch.inference_mode()
def compare(method: stan.Stan, frames_BTCHW: Tensor, recorded: dict, monkeypatch) -> None:
    """Fill, run, and compare the result, one frame of it, and the state after every layer of the branch."""
    filled(method)
    video_BD = method.encode_video(frames_BTCHW)
    states, frames = [], []
    layer, project = method.branch.layer, method.backbone.project
    # the last layer's patches, which reach no result, too
    monkeypatch.setattr(
        method.branch, "layer", lambda *arguments: states.append(layer(*arguments[:-1], True)) or states[-1]
    )
    monkeypatch.setattr(method.backbone, "project", lambda cls: frames.append(project(cls)) or frames[-1])
    near(method.encode_video(frames_BTCHW), video_BD.tolist())
    for k, (cls_B1V, patches_BLTV) in enumerate(states):
        near(cls_B1V[0, 0, :4], recorded["stan_after_layer_cls_first4"][str(k)])
        near(patches_BLTV[0, 0, 0, :4], recorded["stan_after_layer_patch_first4"][str(k)])
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
    method = build_method(OpenClipViT(small_model), "stan", options)
    compare(method, closed_form("input", (2, num_frames, 3, 64, 64)), RECORDED[case], monkeypatch)


@pytest.fixture(scope="module")
def stan_b32():
    return build_method(OpenClipViT(Architecture("ViT-B-32", quick_gelu=True)), "stan", {"layers": 4})


def test_four_layers_on_vit_b_add_40_million_parameters(stan_b32):
    assert sum(p.numel() for p in stan_b32.new_parameters().values()) == 40_218_624
    assert stan_b32.levels == (9, 10, 11, 12)


def test_stan_on_vit_b_32_gives_the_originals_numbers(stan_b32, monkeypatch):
    frames_BTCHW = closed_form("input", (1, 2, 3, 224, 224))
    compare(stan_b32, frames_BTCHW, RECORDED["b32_selfattn_d4_B1_T2"], monkeypatch)


def plain(method: stan.Stan, frames_BTCHW: Tensor) -> Tensor:
    """The same written out as in the original, with nn.MultiheadAttention and reshapes."""
    visual, branch = method.backbone.visual, method.branch
    tokens = method.backbone.visual_tokens(frames_BTCHW, branch.levels)
    position_NV, state = visual.positional_embedding, None
    for k, level in enumerate(branch.levels):
        B, T, N, V = tokens[level].shape
        mean_B1V = tokens[level][:, :, 0].mean(1, keepdim=True)
        patches = tokens[level][:, :, 1:].permute(0, 2, 1, 3)  # space outer, time inner
        if state is None:
            cls = (mean_B1V + visual.class_embedding + position_NV[0]) / 2
            patches = patches + position_NV[None, 1:, None] + branch.time_embed[None, None, :T]
            state = torch.cat([cls, patches.reshape(B, -1, V)], 1)
        else:
            state = state + torch.cat([mean_B1V, patches.reshape(B, -1, V)], 1)
        temporal, block = branch.temporal[k], branch.spatial[k].block
        if isinstance(temporal, TimeConv):
            h, w = method.backbone.grid
            x = temporal.conv(state[:, 1:].view(B, h, w, T, V).permute(0, 4, 3, 1, 2))
            x = x.permute(0, 3, 4, 2, 1).reshape(B, -1, V)
        else:
            attention = nn.MultiheadAttention(V, block.attn.num_heads, batch_first=True).to(state)
            tensors = [*temporal.attn.in_proj.parameters(), *temporal.attn.out_proj.parameters()]
            named = dict(
                zip(("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"), tensors, strict=True)
            )
            x = temporal.ln(state[:, 1:].reshape(B * (N - 1), T, V))
            x = torch.func.functional_call(attention, named, (x, x, x))[0].reshape(B, -1, V)
        state = torch.cat([state[:, :1], state[:, 1:] + temporal.fc(x)], 1)
        cls = state[:, :1].repeat(1, T, 1).view(B * T, 1, V)
        patches = state[:, 1:].view(B, N - 1, T, V).permute(0, 2, 1, 3).reshape(B * T, N - 1, V)
        x = block.attention(block.ln_1(torch.cat([cls, patches], 1))).view(B, T, N, V)
        x = torch.cat([x[:, :, 0].mean(1, keepdim=True), x[:, :, 1:].permute(0, 2, 1, 3).reshape(B, -1, V)], 1)
        state = state + x
        state = state + block.mlp(block.ln_2(state))
    return method.backbone.project(tokens[branch.levels[-1]][:, :, 0] + state[:, :1]).mean(1)


@pytest.mark.parametrize("temporal", ["attention", "conv3d"])
@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_gradients_are_those_of_the_original_written_out(small_model, temporal, gradient_checkpointing):
    """The recorded numbers hold no gradients; `plain` gives the recorded result, so its gradients are the original's."""
    method = filled(build_method(OpenClipViT(small_model), "stan", {"temporal": temporal}))
    choose_kernels(method, TrainingOptions(gradient_checkpointing=gradient_checkpointing), torch.device("cpu"))
    frames_BTCHW = closed_form("input", (2, 5, 3, 64, 64))
    case = RECORDED["tiny_selfattn_d4_B2_T5" if temporal == "attention" else "tiny_conv_d4_B2_T5"]
    direction_BD = closed_form("video_feat", (2, 32))
    parameters = {n: p for n, p in method.named_parameters() if n.startswith(("branch.", "backbone.clip.visual."))}
    gradients = []
    for encode in (method.encode_video, lambda frames: plain(method, frames)):
        video_BD = encode(frames_BTCHW)
        near(video_BD.detach(), case["out"])
        gradients.append(torch.autograd.grad((video_BD * direction_BD).sum(), list(parameters.values())))
    for name, ours, theirs in zip(parameters, *gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9, msg=name)
        assert ours.abs().max() > 0


@pytest.mark.parametrize("temperature", ["0.01", "0.02", "0.05"])
def test_the_originals_loss_is_the_sum_of_two_cross_entropies(temperature):
    """The definition that a retrieval loss has to meet, and its gradient written out."""
    video_BD, text_BD = (closed_form(n, (12, 16)).requires_grad_() for n in ("video_feat", "text_feat"))
    logits_BB = cosine_scores(video_BD, text_BD) / float(temperature)
    logits_BB.retain_grad()
    target_B = torch.arange(12)
    loss = nn.functional.cross_entropy(logits_BB, target_B) + nn.functional.cross_entropy(logits_BB.T, target_B)
    assert loss.item() == pytest.approx(RECORDED["loss"][temperature], rel=1e-9)
    loss.backward()
    wanted_BB = (logits_BB.softmax(0) + logits_BB.softmax(1) - 2 * torch.eye(12)) / 12
    torch.testing.assert_close(logits_BB.grad, wanted_BB.detach(), rtol=1e-9, atol=1e-12)


@torch.inference_mode()
def test_the_text_tower_gives_the_originals_numbers(tmp_path):
    """Hugging Face's text tower: width 48, 4 heads, 2 layers. The original ran in float32, so the tolerance is 1e-6."""
    text = {"context_length": 32, "vocab_size": 49408, "width": 48, "heads": 4, "layers": 2}
    vision = {"image_size": 32, "layers": 1, "width": 8, "head_width": 8, "patch_size": 16}
    settings = {"embed_dim": 32, "vision_cfg": vision, "text_cfg": text}
    (tmp_path / "kinetext-test-text.json").write_text(json.dumps(settings))
    open_clip.add_model_config(tmp_path)
    backbone = OpenClipViT(Architecture("kinetext-test-text", quick_gelu=True)).eval()
    names = {
        "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
        "positional_embedding": "text_model.embeddings.position_embedding.weight",
        "text_projection": "text_projection.weight",
        **{f"ln_final.{kind}": f"text_model.final_layer_norm.{kind}" for kind in KINDS},
    }
    for layer in range(2):
        names |= block(f"transformer.resblocks.{layer}", f"text_model.encoder.layers.{layer}")
    fill(backbone.clip, names, excluded=("visual.", "logit_scale"))
    backbone.clip.attn_mask = backbone.clip.attn_mask.double()
    recorded = RECORDED["text_tiny"]
    ids_KL = torch.tensor(recorded["ids"])
    states = []
    backbone.clip.ln_final.register_forward_hook(lambda module, inputs, output: states.append(output))
    for length in (32, 9):  # padding is not seen
        ends_K1 = ids_KL.argmax(-1, keepdim=True)
        tokens = TextTokens(ids_KL[:, :length], torch.arange(length) <= ends_K1)
        text_KD, _ = backbone.encode_text(tokens)
        torch.testing.assert_close(text_KD, torch.tensor(recorded["out"], dtype=torch.float64), rtol=1e-6, atol=1e-6)
        first = torch.tensor(recorded["tok1_first4"], dtype=torch.float64)
        torch.testing.assert_close(states[-1][0, 1, :4], first, rtol=1e-6, atol=1e-6)


def test_mugs_head_gives_the_originals_numbers_and_gradients():
    """Three texts of 4, 7 and 2 words, four videos of 5 frames, features of 16 numbers."""
    text_SLD = closed_form("mug_text", (3, 7, 16)).requires_grad_()
    video_BTD = closed_form("mug_video", (4, 5, 16)).requires_grad_()
    mask_SL = torch.arange(7) < torch.tensor([[4], [7], [2]])
    text, video = (nn.functional.normalize(x, dim=-1) for x in (text_SLD, video_BTD))
    scores_BS = mug_scores(video, text, mask_SL)
    near(scores_BS.detach().T, RECORDED["mug_simple"])

    # one video and one text at a time, without padding
    alone_BS = torch.zeros_like(scores_BS)
    for s, length in enumerate((4, 7, 2)):
        for b in range(4):
            alike_LT = text[s, :length] @ video[b].T
            word_L = (alike_LT * (100 * alike_LT).softmax(1)).sum(1)
            frame_T = (alike_LT * (100 * alike_LT).softmax(0)).sum(0)
            both = [(x * (100 * x).softmax(0)).sum() for x in (word_L, frame_T)]
            alone_BS[b, s] = (both[0] + both[1]) / 2
    weight_BS = closed_form("video_feat", (4, 3))
    ours, theirs = (
        torch.autograd.grad((weight_BS * x).sum(), (text_SLD, video_BTD), retain_graph=True)
        for x in (scores_BS, alone_BS)
    )
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    assert not ours[0][~mask_SL].any()
