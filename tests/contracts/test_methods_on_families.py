"""Every method on one small random model per family: finite scores, and gradients wherever something trains.

The other checks of the contract run on kinetext-tiny (test_methods.py).
"""

import pytest
import torch

from kinetext.backbones.text_table import tabulate_texts
from kinetext.config.training import TrainingOptions
from kinetext.core import plugins
from kinetext.methods.base import LossInputs, build_method
from kinetext.training.objectives import total
from kinetext.training.setup import add_lora, choose_trained
from method_inputs import LABELS, OPTIONS, RIVALS_KK, TARGET_B, B, T, perturb
from worlds import text_rows

# attention pooling without and with a class token, a class token with rotary positions; the mean of the patches with the
# last token of a text, attention pooling with a class token after the text
FAMILIES = ("siglip", "pe", "eva02", "clipa", "coca")


def small(family):
    """A small random model. Importing timm takes seconds, so it waits for a test that needs it."""
    import small_native
    import small_timm

    if family == "clipa":
        return small_native.small("clipa", tokenizer=small_timm.WordTokenizer())
    return small_native.small(family) if family == "coca" else small_timm.small(family)


def on_backbone(name):
    """Whether a method runs on a backbone with text; others have no backbone at all."""
    reads = getattr(plugins.load("methods", name), "reads", "tokens")
    return reads != "frames"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", list(filter(on_backbone, plugins.names("methods"))))
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
        with torch.no_grad():
            features_NTD = torch.cat([method.frame_features(method.image_tokens(frames_BTCHW)) for _ in range(3)])
            method.fit(features_NTD, torch.arange(len(features_NTD)) % len(LABELS), method.encode_texts(table))
    elif method.trains:
        training = TrainingOptions(image_encoder="lora", text_encoder="lora")
        add_lora(method, training, torch.device("cpu"))
        choose_trained(method, training)
        inputs = LossInputs(method.encode_video(frames_BTCHW), method.encode_texts(table), TARGET_B, RIVALS_KK)
        loss = total(method.losses(inputs))
        assert torch.isfinite(loss)
        loss.backward()
        untrained = [n for n, p in method.new_parameters().items() if p.grad is None and "down_3RV" not in n]
        assert not untrained
    with torch.inference_mode():
        scores_BK = method.score(method.encode_video(frames_BTCHW), method.encode_texts(table))
    assert scores_BK.shape == (B, len(LABELS))
    assert torch.isfinite(scores_BK).all()
    assert scores_BK.std() > 0
