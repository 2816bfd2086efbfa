"""Named losses are curves, and loss terms are added to them."""

import pytest
import torch

from kinetext.backbones.checkpoint import load_backbone
from kinetext.backbones.text_table import tabulate_texts
from kinetext.core import plugins
from kinetext.methods.base import LossInputs, build_method
from kinetext.training.loss_terms.base import TermInputs, mixed_losses
from kinetext.training.objectives import total
from left import curve
from worlds import text_rows

pytestmark = pytest.mark.usefixtures("on_cpu")

LABELS = ["rising", "falling"]


def test_each_term_of_a_method_is_a_curve_and_they_add_up(trained, whole):
    folder = trained("moted", image_encoder="frozen")
    parts = [curve(folder, f"train_loss_{name}") for name in ("fused", "motion", "rivals")]
    assert [sum(values) for values in zip(*parts, strict=True)] == pytest.approx(curve(folder, "train_loss"), rel=1e-5)
    assert curve(whole("mean_pool", image_encoder="frozen"), "train_loss_cross_entropy") == []


def test_a_term_is_added_by_its_weight_and_is_no_part_of_the_checkpoint(trained):
    from kinetext.core.tensors import load_tensors

    terms = {"froster": {"module": "distill_clip", "weight": 2.0}}
    folder = trained("mean_pool", "run", image_encoder="trained", terms=terms)
    names = ("train_loss_cross_entropy", "train_loss_froster")
    parts = [curve(folder, name) for name in names]
    assert [sum(values) for values in zip(*parts, strict=True)] == pytest.approx(curve(folder, "train_loss"), rel=1e-5)
    assert parts[1][-1] > 0  # the model has moved away from its start
    tensors, _ = load_tensors(folder / "checkpoint.safetensors")
    assert all(name.startswith("backbone.") for name in tensors)


def test_distill_clip_is_zero_before_training_and_counts_its_parameters(tiny):
    method = build_method(tiny, "mean_pool", {})
    term_class = plugins.load("terms", "distill_clip")
    term = term_class(method, plugins.configure(term_class, {}))
    frames_BTCHW = torch.randint(256, (2, 3, 3, 64, 64), dtype=torch.uint8)
    table = tabulate_texts(text_rows(LABELS), LABELS, tiny)
    tokens = method.image_tokens(frames_BTCHW)
    inputs = LossInputs(method.encode_tokens(tokens), method.encode_texts(table), torch.tensor([0, 1]))
    assert term.loss(TermInputs(frames_BTCHW, tokens, table, inputs)).item() == pytest.approx(0.0, abs=1e-5)
    trainable = sum(p.numel() for p in term.parameters() if p.requires_grad)
    assert trainable == 4 * tiny.embed_dim**2
    with torch.no_grad():
        tiny.clip.visual.proj.add_(0.1 * torch.randn(tiny.clip.visual.proj.shape))
    tokens = method.image_tokens(frames_BTCHW)
    assert term.loss(TermInputs(frames_BTCHW, tokens, table, inputs)).item() > 1e-3


def interpolated(method, **options):
    term_class = plugins.load("terms", "interpolation_consistency")
    return term_class(method, plugins.configure(term_class, options))


def term_inputs(method, frames_BTCHW, other_B=None, share=1.0):
    table = tabulate_texts(text_rows(LABELS), LABELS, method.backbone)
    tokens = method.image_tokens(frames_BTCHW)
    rivals_KK = torch.ones(2, 2, dtype=torch.bool)
    inputs = LossInputs(method.encode_tokens(tokens), method.encode_texts(table), torch.tensor([0, 1]), rivals_KK)
    return TermInputs(frames_BTCHW, tokens, table, inputs, other_B, share)


@pytest.mark.parametrize("mixed", [False, True])
def test_interpolation_adds_the_gradient_at_the_interpolated_weights(tiny, tiny_folder, mixed):
    """With no factor 1 - alpha, and with the loss of both classes if clips are mixed."""
    other = load_backbone(tiny_folder)  # will hold the interpolated weights
    method, at_mixture = (build_method(backbone, "mean_pool", {}) for backbone in (tiny, other))
    term = interpolated(method, largest=0.5).eval()
    moved = {}
    with torch.no_grad():
        for name, parameter in tiny.named_parameters():
            step = 0.02 * torch.randn(parameter.shape)
            moved[name] = parameter + 0.75 * step  # alpha is the mean of U(0, 0.5)
            parameter.add_(step)
        for name, parameter in other.named_parameters():
            parameter.copy_(moved[name])
    frames_BTCHW = torch.randn(2, 3, 3, 64, 64)
    mixture = (torch.tensor([1, 0]), 0.7) if mixed else (None, 1.0)
    loss = term.loss(term_inputs(method, frames_BTCHW, *mixture))
    method.zero_grad()
    loss.backward()
    batch = term_inputs(at_mixture, frames_BTCHW, *mixture)
    wanted = total(mixed_losses(at_mixture, batch.losses, *mixture))
    wanted.backward()
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    for (name, ours), theirs in zip(tiny.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5, msg=name)


def test_interpolation_draws_another_alpha_in_each_step(tiny):
    method = build_method(tiny, "mean_pool", {})
    term = interpolated(method).train()
    with torch.no_grad():
        tiny.visual.proj.add_(0.1 * torch.randn(tiny.visual.proj.shape))
    inputs = term_inputs(method, torch.randn(2, 3, 3, 64, 64))
    torch.manual_seed(0)
    losses = [term.loss(inputs).item() for _ in range(3)]
    assert len(set(losses)) == 3
    torch.manual_seed(0)
    assert term.loss(inputs).item() == losses[0]


def test_interpolation_refuses_what_it_cannot_serve(tiny):
    tiny.gradient_checkpointing = True
    method = build_method(tiny, "mean_pool", {})
    with pytest.raises(ValueError, match=r"set training\.gradient_checkpointing: false"):
        interpolated(method).loss(term_inputs(method, torch.randn(2, 3, 3, 64, 64)))
    tiny.add_lora("image", 2, 1.0)
    with pytest.raises(ValueError, match="weights of LoRA are no weights of CLIP"):
        interpolated(method)
    with pytest.raises(ValueError, match="no weight of the backbone trains"):
        interpolated(method.requires_grad_(False))


def test_interpolation_trains_with_a_method_inside_the_encoder(trained):
    terms = {"interpolation_consistency": {"weight": 0.5}}
    folder = trained("window_attention", image_encoder="trained", epochs=1, terms=terms)
    parts = [curve(folder, f"train_loss_{name}") for name in ("cross_entropy", "interpolation_consistency")]
    assert [sum(values) for values in zip(*parts, strict=True)] == pytest.approx(curve(folder, "train_loss"), rel=1e-5)
    assert parts[1][0] == pytest.approx(parts[0][0] / 2, rel=0.2)
