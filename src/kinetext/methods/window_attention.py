"""Open-VCLIP's attention to neighbouring frames (Weng et al., ICML 2023, arXiv:2302.00624), without new parameters.

In every layer the tokens of a frame attend to the tokens of the frame and of its neighbours: the keys and values of
neighbouring frames are appended after the projection. Beyond the ends of a clip, keys and values are zeros that are not
masked, as in the released code (wengzejia1/Open-VCLIP @ 047a817): they take part in the softmax. Masking them would
change the scores. The code's other option, channel_shift, mixes heads and tokens and is not implemented.

No parameter is added. The paper trains all of the image encoder (`image_encoder: trained`); lora and frozen work too.

Before training, each layer equals CLIP's for the frames of a still clip that have all neighbours, but not at the ends.
Each further layer carries the difference inwards by `window` frames: with 12 layers, only frames at least 12 windows
away from both ends get CLIP's features. A clip with motion gets other features everywhere, so the method does not equal
zero-shot CLIP. The window is symmetric, so a clip and its reversal get equal scores, and time-reversed pairs are not
distinguished. Backbones without a class token work too: all tokens are treated alike, and the same holds before
training.

Released settings for zero-shot tests: Kinetics-400, 8 frames, stride 16; learning rate 3.33e-6, 22 epochs, 64 clips;
text encoder frozen, 28 templates; the loss term interpolation_consistency with weight 0.5; average of the weights of
epochs 2 to 22 (weight_averaging: swa); then the mean of these and CLIP's (wise_ft_alpha: 0.5).

B clips, T frames, N tokens of a frame, V width, E tokens of all neighbours.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from kinetext.backbones.layer import Layer
from kinetext.core.plugins import Options
from kinetext.methods.base import ALL_TASKS, Method


class WindowAttention(Method):
    """Average frame features of an encoder whose layers attend to neighbouring frames."""

    paper = "Open-VCLIP (Weng et al., ICML 2023)"
    mechanism = "Lets each frame also attend to the previous and the next frame in every layer. Adds no parameters."
    equals_before_training = (
        "not zero-shot CLIP: on a clip of equal frames, a layer equals CLIP's only in frames that have all neighbours"
    )
    cannot_see = (
        "Cannot distinguish a clip from the same clip in reversed order, because earlier and later neighbours of a "
        "frame are treated alike. In one layer a frame sees only the previous and the next frame (window: 1)."
    )
    tasks = ALL_TASKS
    sees_order = False  # reversal only; other frame orders change the neighbours
    inside = True

    class Config(Options):
        """Option of the window."""

        window: int = Field(1, ge=1, description="neighbours on each side; the released scripts use 1")

    config: Config

    def layer(self, number: int, layer: Layer, x_BTNV: Tensor) -> Tensor:
        """Return the output of a layer that also attends to neighbouring frames."""
        frames = x_BTNV.shape[:2]
        x_SNV = x_BTNV.flatten(0, 1)
        keys_SNV, values_SNV = layer.keys_values(x_SNV)
        neighbours = (self._neighbours(keys_SNV, frames), self._neighbours(values_SNV, frames))
        x_SNV = x_SNV + layer.attention(x_SNV, extra_keys_values=neighbours)
        return (x_SNV + layer.mlp(x_SNV)).unflatten(0, frames)

    def _neighbours(self, x_SNV: Tensor, frames: torch.Size) -> Tensor:
        """Return the keys or values [B x T, E, V] of each frame's neighbours, zeros beyond the ends of the clip."""
        window, T = self.config.window, frames[1]
        padded = F.pad(x_SNV.unflatten(0, frames), (0, 0, 0, 0, window, window))
        shifts = [shift for shift in range(2 * window + 1) if shift != window]
        return torch.cat([padded[:, shift : shift + T] for shift in shifts], 2).flatten(0, 1)
