"""Open-VCLIP's regularisation by interpolated weights (Weng et al., ICML 2023, arXiv:2302.00624).

In each step alpha is drawn from U(0, 0.6), and the losses of the method are computed once more with the weights
alpha x CLIP + (1 - alpha) x current weights. As in the released code (wengzejia1/Open-VCLIP @ 047a817, train_net.py),
their gradient is added to the current weights as it is, without the factor 1 - alpha that the chain rule has. The
paper's weight is 0.5: `terms: {interpolation_consistency: {weight: 0.5}}`. A step takes twice as long.

Only weights of the pretrained model that train are interpolated; the parameters that a method adds have no counterpart
in CLIP and are not interpolated. The term has no parameters. If clips are mixed (mixup, CutMix), their loss is mixed
too. A batch that is computed in pieces draws an alpha for each piece, as it draws its dropout. Outside training alpha
is the mean, 0.3.
"""

from dataclasses import replace
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from kinetext.core.plugins import Options
from kinetext.methods.base import Method, is_new
from kinetext.training.features import map_tensors
from kinetext.training.loss_terms.base import LossTerm, TermInputs, mixed_losses


class InterpolationConsistency(LossTerm):
    """Add the losses of the method at weights between the pretrained and the current ones."""

    class Config(Options):
        """Option of the interpolation."""

        largest: float = Field(0.6, ge=0, le=1, description="largest share of CLIP's weights; alpha is uniform from 0")

    def __init__(self, method: Method, config: Any) -> None:
        super().__init__(method, config)
        trained = {name: p for name, p in method.backbone.named_parameters() if p.requires_grad}
        if any(is_new(p) for p in trained.values()):
            raise ValueError(
                "interpolation_consistency: weights of LoRA are no weights of CLIP; set image_encoder and text_encoder to "
                "trained or frozen, or remove the term"
            )
        if not trained:
            raise ValueError(
                "interpolation_consistency: no weight of the backbone trains, so there is nothing to interpolate; remove "
                "the term"
            )
        self.start = {name: p.detach().clone() for name, p in trained.items()}
        self.text_trains = any(method.backbone.depth_of(name).part in ("text", "words") for name in trained)

    def loss(self, inputs: TermInputs) -> Tensor:
        """Return the sum of the losses of the method. Raises ValueError with gradient checkpointing."""
        (method,) = self.method
        if method.backbone.gradient_checkpointing:
            raise ValueError(
                "interpolation_consistency: gradient checkpointing would compute the layers again with other weights; set "
                "training.gradient_checkpointing: false and a smaller training.micro_batch"
            )
        alpha = self.config.largest * (float(torch.rand(())) if self.training else 0.5)
        weights = {
            f"method.backbone.{name}": _between(self.start[name], parameter, alpha)
            for name, parameter in method.backbone.named_parameters()
            if name in self.start
        }
        # a backbone may have two names for a module, and tied names would not be put back as they were
        call = torch.func.functional_call
        losses: Tensor = call(_Losses(method, self.text_trains), weights, (inputs,), tie_weights=False)
        return losses


class _Losses(nn.Module):
    """The losses of a method as a module, so that its weights can be replaced for one call."""

    def __init__(self, method: Method, text_trains: bool) -> None:
        super().__init__()
        self.method, self.text_trains = method, text_trains

    def forward(self, inputs: TermInputs) -> Tensor:
        """Return the sum of the losses of a batch."""
        method, frames = self.method, inputs.frames_BTCHW
        video = method.encode_tokens(inputs.tokens) if frames is None else method.encode_video(frames)
        text = method.encode_texts(inputs.table) if self.text_trains else inputs.losses.text
        video, text = (map_tensors(_as_float32, features) for features in (video, text))
        with torch.autocast(method.backbone.mean_C.device.type, enabled=False):
            batch = replace(inputs.losses, video=video, text=text)
            return torch.stack([*mixed_losses(method, batch, inputs.other_B, inputs.share).values()]).sum()


def _as_float32(features: Tensor) -> Tensor:
    """Return features of autocast in float32, the precision of scores and losses."""
    return features.float() if features.dtype in (torch.bfloat16, torch.float16) else features


def _between(start: Tensor, current: Tensor, alpha: float) -> Tensor:
    """Return interpolated weights whose gradient is the gradient of the current ones."""
    start = start.to(current.device)
    return current + alpha * (start - current).detach()
