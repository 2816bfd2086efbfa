"""A method from outside that works inside the image encoder: a bottleneck adapter after each attention.

After AIM (Yang et al., ICLR 2023), in its simplest form. The adapters train, also in a frozen image encoder. With width r and
V visual width, each of the layers gets 2 V r + r + V parameters. The last projection starts at zero, so that the method equals
mean pooling before training. It sees each frame alone, so the order of frames changes nothing.
"""

import torch.nn.functional as F
from pydantic import Field
from torch import nn

from kinetext.core.plugins import Options
from kinetext.methods.base import IGNORES_ORDER, Method


class Adapter(Method):
    """A zero-initialised adapter after the attention of each layer."""

    paper = "after AIM (Yang et al., ICLR 2023)"
    mechanism = "Adds a small trained layer (adapter) after each attention."
    equals_before_training = "zero-shot CLIP"
    cannot_see = IGNORES_ORDER

    class Config(Options):
        """Size of the adapters."""

        bottleneck: int = Field(8, ge=1, description="width of each adapter")

    inside = True
    sees_order = False

    def __init__(self, backbone, config):
        super().__init__(backbone, config)
        self.down = nn.ModuleList(nn.Linear(backbone.width, config.bottleneck) for _ in backbone.layers)
        self.up = nn.ModuleList(nn.Linear(config.bottleneck, backbone.width) for _ in backbone.layers)
        for up in self.up:
            nn.init.zeros_(up.weight)
            nn.init.zeros_(up.bias)

    def layer(self, number, layer, x_BTNV):
        """Return the layer's output, with the adapter between attention and MLP."""
        x_SNV = x_BTNV.flatten(0, 1)
        attended = layer.attention(x_SNV)
        x_SNV = x_SNV + attended + self.up[number - 1](F.gelu(self.down[number - 1](attended)))
        return (x_SNV + layer.mlp(x_SNV)).unflatten(0, x_BTNV.shape[:2])
