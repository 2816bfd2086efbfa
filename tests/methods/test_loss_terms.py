"""Named losses are curves, and loss terms are added to them."""

import pytest
import torch

from kinetext.backbones.text_table import tabulate_texts
from kinetext.core import plugins
from kinetext.methods.base import LossInputs, build_method
from kinetext.training.loss_terms.base import TermInputs
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
