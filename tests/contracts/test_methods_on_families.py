"""Every method on one small random model per family: finite scores, and a step of training that moves what trains.

The other checks of the contract run on kinetext-tiny (test_methods.py).
"""

import re
import sys

import pytest
import torch

from families import FAMILIES, small
from kinetext.backbones.text_table import tabulate_texts
from kinetext.config.training import TrainingOptions
from kinetext.core import plugins
from kinetext.methods.base import LossInputs, build_method
from kinetext.training.objectives import total
from kinetext.training.setup import add_lora, choose_trained, make_optimizer
from method_inputs import LABELS, OPTIONS, RIVALS_KK, TARGET_B, B, T, fit, perturb
from worlds import text_rows


def on_backbone(name):
    """Whether a method runs on a backbone with text; others have no backbone at all."""
    reads = getattr(plugins.load("methods", name), "reads", "tokens")
    return reads != "frames"


METHODS = list(filter(on_backbone, plugins.names("methods")))


def take_a_step(method, frames_BTCHW, table):
    """Train for a step, with LoRA. Every new parameter has a gradient, and whatever has one moves."""
    training = TrainingOptions(image_encoder="lora", text_encoder="lora", warmup_epochs=0)
    add_lora(method, training, torch.device("cpu"))
    choose_trained(method, training)
    optimizer, _ = make_optimizer(method, training, steps_per_epoch=1)
    inputs = LossInputs(method.encode_video(frames_BTCHW), method.encode_texts(table), TARGET_B, RIVALS_KK)
    loss = total(method.losses(inputs))
    assert torch.isfinite(loss)
    loss.backward()
    assert not [n for n, p in method.new_parameters().items() if p.grad is None and "down_3RV" not in n]
    before = {name: parameter.clone() for name, parameter in method.named_parameters()}
    optimizer.step()
    for name, parameter in method.named_parameters():
        has_gradient = parameter.grad is not None and float(parameter.grad.abs().max()) > 1e-6  # less: rounding
        assert parameter.isfinite().all()
        assert parameter.requires_grad or torch.equal(parameter, before[name])
        assert not has_gradient or not torch.equal(parameter, before[name])
    method.backbone.clamp_scale()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", METHODS)
def test_every_method_scores_and_learns_on_every_family(name, family):
    backbone = small(family)
    torch.manual_seed(0)
    options = OPTIONS.get(name, {})
    if name == "vl_prompts" and not backbone.takes_prompts:
        options = {**options, "text_depth": 0}
    method = build_method(backbone, name, options).eval()
    perturb(method)
    table = tabulate_texts(text_rows(LABELS), LABELS, backbone)
    frames_BTCHW = torch.randn(B, T, 3, 32, 32)
    if method.fits:
        fit(method, frames_BTCHW, table)
    elif method.trains:
        take_a_step(method, frames_BTCHW, table)
    with torch.inference_mode():
        scores_BK = method.score(method.encode_video(frames_BTCHW), method.encode_texts(table))
    assert scores_BK.shape == (B, len(LABELS))
    assert torch.isfinite(scores_BK).all()
    assert scores_BK.std() > 0


@pytest.mark.parametrize("name", METHODS)
def test_the_docstring_says_what_is_taken_as_the_class_token(name):
    text = " ".join(sys.modules[plugins.load("methods", name).__module__].__doc__.split())
    assert "class token" in text
    assert re.search(
        "without a class token|no class token|ha(s|ve) none|there is none|pools its tokens instead", text, re.I
    )
