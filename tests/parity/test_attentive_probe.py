"""The attentive probe against numbers of facebookresearch/vjepa2 @ c2963a4 (attentive_probe.json), and its sizes.

Where transformers is installed, its pooler and classifier of V-JEPA 2 with the same weights have to agree, too.
"""

import pytest
import torch
from torch.nn.init import trunc_normal_

from closed_form import closed_input, cotangent, fill, near_gradient, near_rows, recorded
from kinetext.methods.attentive_probe import pooler
from kinetext.methods.attentive_probe.pooler import AttentiveClassifier
from small_video import needs_transformers, vjepa

CASES = recorded("attentive_probe")


def filled(case):
    options = CASES[case]["options"]
    names = ("embed_dim", "num_heads", "depth", "num_classes")
    probe = AttentiveClassifier(*(options[name] for name in names)).double()
    fill(probe, str)
    assert set(CASES[case]["keys"]) == {name for name, _ in probe.named_parameters()}
    return probe, closed_input("input", tuple(CASES[case]["inputs"]["input"])).requires_grad_()


@pytest.mark.parametrize("case", ["depth1", "depth4"])
@pytest.mark.parametrize("output", ["pooled", "logits"])
def test_outputs_and_gradients(case, output):
    probe, x_BSV = filled(case)
    y = probe(x_BSV) if output == "logits" else probe.pooler(x_BSV)[:, None]
    near_rows(y, CASES[case]["outputs"][output])
    (y * cotangent(y)).sum().backward()
    gradients = {name: p.grad for name, p in probe.named_parameters()} | {"input": x_BSV.grad}
    for name, record in CASES[case][f"grad_of_{output}"].items():
        near_gradient(gradients[name], record)


RENAMED = (  # in transformers -> here
    ("cross_attention_layer", "cross_attention_block"),
    ("self_attention_layers", "blocks"),
    ("layer_norm", "norm"),
    ("self_attn.out_proj", "attn.proj"),
    ("cross_attn.q_proj", "xattn.q"),
)
STACKED = {"self_attn": ("attn.qkv", "qkv"), "cross_attn": ("xattn.kv", "kv")}  # projections that are one Linear here


def weights_of(pooler, classifier):
    """The weights of transformers' pooler and classifier by the names here."""
    theirs, ours = pooler.state_dict(), {f"linear.{name}": tensor for name, tensor in classifier.state_dict().items()}
    for name, tensor in theirs.items():
        new = name
        for old, replacement in RENAMED:
            new = new.replace(old, replacement)
        for attention, (stacked, parts) in STACKED.items():
            if new.endswith((f"{attention}.v_proj.weight", f"{attention}.v_proj.bias")):
                tensor = torch.cat([theirs[name.replace("v_proj", f"{part}_proj")] for part in parts])
                new = new.replace(f"{attention}.v_proj", stacked)
        if "_proj" not in new:
            ours[f"pooler.{new}"] = tensor
    return ours


@needs_transformers
@pytest.mark.parametrize("depth", [1, 4])
def test_transformers_pooler_and_classifier_agree_with_the_same_weights(depth):
    """With the eps of the release; transformers' own is 1e-6."""
    model = vjepa(num_pooler_layers=depth - 1, layer_norm_eps=1e-5).double()
    probe = AttentiveClassifier(48, 2, depth, 3).double()
    probe.load_state_dict(weights_of(model.pooler, model.classifier))
    tokens_BSV = torch.randn(2, 16, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    inputs = [tokens_BSV.clone().requires_grad_() for _ in range(2)]
    ours, theirs = probe(inputs[0]), model.classifier(model.pooler(inputs[1]))
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    for logits in (ours, theirs):
        logits.square().sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("width", "depth", "millions"), [(768, 1, 6.50), (768, 4, 27.76), (512, 1, 2.89)])
def test_published_numbers_of_parameters(width, depth, millions):
    with torch.device("meta"):
        probe = AttentiveClassifier(width, 16, depth, 10)
    assert round(sum(p.numel() for p in probe.pooler.parameters()) / 1e6, 2) == millions
    assert sum(p.numel() for p in probe.linear.parameters()) == 10 * (width + 1)


@pytest.mark.parametrize(("depth", "divisors"), [(1, []), (4, [2, 4, 6])])
def test_initial_weights_are_divided_by_depth(depth, divisors, monkeypatch):
    monkeypatch.setattr(pooler.nn.init, "trunc_normal_", lambda tensor, std: torch.nn.init.constant_(tensor, std))
    probe = AttentiveClassifier(16, 2, depth, 3).pooler
    assert trunc_normal_ is not pooler.nn.init.trunc_normal_
    for block, divisor in zip(probe.blocks, divisors, strict=True):
        for matrix in (block.attn.proj.weight, block.mlp.fc2.weight):
            torch.testing.assert_close(matrix, torch.full_like(matrix, 0.02 / divisor**0.5))
        torch.testing.assert_close(block.mlp.fc1.weight, torch.full_like(block.mlp.fc1.weight, 0.02))
    last = probe.cross_attention_block.mlp.fc2.weight
    torch.testing.assert_close(last, torch.full_like(last, 0.02 / (2 * max(1, depth - 1)) ** 0.5))
