"""kinetext import-weights: checkpoints under the names of STAN's released code, made up here, become ours and score the
same; a name too many or too few is an error that names it.
"""

import pytest
import torch

from kinetext.backbones.tiny import Tiny
from kinetext.core.tensors import load_tensors
from kinetext.methods.base import build_method
from kinetext.methods.checkpoint import load_trained
from kinetext.methods.stan.import_weights import import_weights

# our names -> the original's, written independently of the module
WHOLE = [
    ("visual.conv1.weight", "backbone.patch_embedding.weight"),
    ("visual.positional_embedding", "backbone.position_embedding.weight"),
    ("visual.transformer.resblocks.", "backbone.layers."),
    ("visual.ln_pre.", "backbone.pre_layrnorm."),
    ("visual.ln_post.", "backbone.post_layernorm."),
    ("visual.proj", "backbone.visual_projection.weight"),
    ("visual.", "backbone."),
    ("branch.time_embed", "backbone.STAN_time_embed.weight"),
    ("branch.spatial.", "backbone.STAN_S_layers."),
    ("branch.temporal.", "backbone.STAN_T_layers."),
    ("token_embedding.", "text_backbone.text_model.embeddings.token_embedding."),
    ("positional_embedding", "text_backbone.text_model.embeddings.position_embedding.weight"),
    ("transformer.resblocks.", "text_backbone.text_model.encoder.layers."),
    ("ln_final.", "text_backbone.text_model.final_layer_norm."),
    ("text_projection", "text_backbone.text_projection.weight"),
]
INNER = [
    (".attn.", ".self_attn."),
    (".ln_1.", ".layer_norm1."),
    (".ln_2.", ".layer_norm2."),
    (".ln.", ".layer_norm1."),
    (".mlp.c_fc.", ".mlp.fc1."),
    (".mlp.c_proj.", ".mlp.fc2."),
    (".fc.", ".temporal_fc."),
    (".conv.", ".layers."),
]


def original(method) -> dict[str, torch.Tensor]:
    """The state of a method under the names that it has in a full checkpoint of the original."""
    renamed = {}
    for name, tensor in method.named_parameters():
        name = name.removeprefix("backbone.clip.").replace(".block.", ".")
        if name == "logit_scale":  # the original has none
            continue
        ours, theirs = next(pair for pair in WHOLE if name.startswith(pair[0]))
        rest = name.removeprefix(ours)
        for a, b in INNER:
            rest = rest.replace(a, b)
        tensor = tensor.detach().T if theirs.endswith("_projection.weight") else tensor.detach()
        if "in_proj" in rest:
            for letter, part in zip("qkv", tensor.chunk(3), strict=True):
                key = rest.replace("in_proj_", f"{letter}_proj.").replace("in_proj.", f"{letter}_proj.")
                renamed[theirs + key] = part.clone()
        else:
            renamed[theirs + rest] = tensor.clone().contiguous()
    return renamed


def make(seed: int, **options):
    """A stan on the small CLIP, with random numbers everywhere."""
    torch.manual_seed(seed)
    method = build_method(Tiny(), "stan", {"layers": 2, **options}).eval()
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
        method.backbone.clip.logit_scale.fill_(2.0)
    return method


FRAMES_BTCHW = torch.randn(2, 3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def features(method) -> list[torch.Tensor]:
    tokens_KL = method.backbone.tokenize(["rising", "falling to the left"])
    return [method.encode_video(FRAMES_BTCHW), method.backbone.encode_text(tokens_KL)[0]]


@pytest.mark.parametrize("temporal", ["attention", "conv3d"])
def test_a_full_checkpoint_gives_the_same_features(temporal, tmp_path):
    method, other = make(1, temporal=temporal), make(2, temporal=temporal)
    names = original(method)
    assert len([name for name in names if name.startswith("text_backbone.")]) == 5 + 3 * 16
    positions = {"text_backbone.text_model.embeddings.position_ids": torch.arange(32)}
    training = {"meta": {"epoch": 10}, "state_dict": names | positions, "optimizer": {"state": {}}}
    torch.save(training, tmp_path / "epoch_10.pth")
    import_weights(tmp_path / "epoch_10.pth", tmp_path / "ours.safetensors")
    header = load_trained(other, tmp_path / "ours.safetensors")
    assert header["options"] == {"layers": 2, "temporal": temporal}
    for ours, theirs in zip(features(other), features(method), strict=True):
        assert torch.equal(ours, theirs)
    imported, _ = load_tensors(tmp_path / "ours.safetensors")
    assert set(imported) == {n for n, _ in method.named_parameters()} - {"backbone.clip.logit_scale"}


def test_an_image_tower_alone_and_names_of_march_2023_will_do(tmp_path):
    method, other = make(1), make(2)
    names = {n.removeprefix("backbone."): t for n, t in original(method).items() if n.startswith("backbone.")}
    old = {"module." + name.replace("STAN_", "timesFPN_"): tensor for name, tensor in names.items()}
    old |= {"module.timesFPN_pos_embed.weight": torch.zeros(1), "module.timesFPN_cls_token": torch.zeros(1)}
    torch.save(old, tmp_path / "march.pth")
    import_weights(tmp_path / "march.pth", tmp_path / "ours.safetensors")
    load_trained(other, tmp_path / "ours.safetensors")
    (ours, text), (theirs, _) = features(other), features(method)
    assert torch.equal(ours, theirs)
    assert torch.equal(text, features(make(2))[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"backbone.STAN_T_layers.0.adapter.weight": 1},
            r"backbone\.STAN_T_layers\.0\.adapter\.weight is no parameter",
        ),
        ({"head.a": 1, "head.b": 1}, r"head\.a \(and 1 more\) is no parameter"),
        ({"backbone.layers.1.self_attn.k_proj.bias": None}, r"layers\.1\.self_attn\.k_proj\.bias is missing"),
        ({"backbone.STAN_time_embed.weight": None}, r"STAN_time_embed\.weight is missing"),
    ],
)
def test_a_name_too_many_or_too_few_is_named(change, message, tmp_path):
    names = original(make(1))
    for name, value in change.items():
        if value is None:
            del names[name]
        else:
            names[name] = torch.zeros(value)
    torch.save(names, tmp_path / "odd.pth")
    with pytest.raises(ValueError, match=message):
        import_weights(tmp_path / "odd.pth", tmp_path / "ours.safetensors")
    assert not (tmp_path / "ours.safetensors").exists()


class Evil:
    """What a pickle may do while it is read."""

    def __reduce__(self):
        return (print, ("read",))


def test_a_file_that_is_no_checkpoint_is_refused_and_runs_nothing(tmp_path, capsys):
    torch.save({"state_dict": Evil()}, tmp_path / "evil.pth")
    (tmp_path / "text.pth").write_text("no checkpoint")
    torch.save({"state_dict": {"a": 1}}, tmp_path / "number.pth")
    for name, message in (
        ("evil", "a checkpoint of torch.save that cannot be read as tensors"),
        ("text", "is text that begins with 'no checkpoint'"),
        ("number", "a is no tensor"),
    ):
        with pytest.raises(ValueError, match=rf"{name}\.pth: {message}"):
            import_weights(tmp_path / f"{name}.pth", tmp_path / "ours.safetensors")
    assert "read" not in capsys.readouterr().out
    with pytest.raises(ValueError, match="there is no such file"):
        import_weights(tmp_path / "none.pth", tmp_path / "ours.safetensors")
