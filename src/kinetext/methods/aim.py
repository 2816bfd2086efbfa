"""AIM (Yang et al., ICLR 2023, arXiv:2302.03024): adapters, and frozen attention over time, then space.

Each layer attends over the frames at each token position with its own frozen attention weights, then over the tokens of
each frame as usual. An adapter follows each of the two, and a third runs parallel to the MLP:

    x + T(attention over time), T without a residual; then x + S(attention over space), S with a residual;
    then x + MLP(LN(x)) + scale M(LN(x)).

An adapter is a down-projection to a quarter of the width, GELU, and a zero-initialised up-projection. With
`before_time` (Something-Something V2), another adapter with a residual precedes the attention over time. A
zero-initialised time embedding is added to all tokens before the first layer. Backbones without a class token work too:
all tokens are treated alike, and the usual summary is taken at the end.

With `image_encoder: frozen`, the adapters, the time embedding, and the norm and projection after the last layer train.
On ViT-B/16 the adapters add 10.65 M parameters, 14.20 M with `before_time`; the time embedding adds `max_frames` x 768.

Before training the method equals mean_pool, which is zero-shot CLIP, on every backbone: all added branches are zero.

DropPath drops the branches of whole clips. The released code drops single token positions in all clips of the batch,
because the first axis of its tensors is tokens.

Released settings (taoyang1122/adapt-image-models @ b3580d2): a linear classifier with dropout 0.5 on ln_post, without
the projection, averaged over frames; AdamW, learning rate 3e-4, weight decay 0.05, 2.5 epochs of warm-up, 30 to 50
epochs, 64 clips; scale 0.5, or 1 on Something-Something V2. Here, clips are scored against the class texts.

B clips, T frames, N tokens of a frame, V width.
"""

from __future__ import annotations

from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from kinetext.backbones.base import Backbone
from kinetext.backbones.layer import Layer
from kinetext.core.plugins import Options
from kinetext.methods.base import ALL_TASKS, LEARNING_NEW, Method, SearchSpace
from kinetext.methods.blocks import drop_path, zero_linear


class Adapter(nn.Module):
    """A bottleneck with GELU, without a residual. Its output is zero before training."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, hidden)
        self.up = zero_linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output [..., V] for tokens [..., V]."""
        return self.up(F.gelu(self.down(x)))


class Aim(Method):
    """Average frame features of an encoder that attends over time and space with the same weights."""

    paper = "AIM (Yang et al., ICLR 2023)"
    mechanism = (
        "Runs each frozen attention layer of CLIP twice, first over time and then over space, and trains small "
        "added layers (adapters)."
    )
    equals_before_training = "zero-shot CLIP"
    cannot_see = (
        "Attention over time compares a patch only with the same position in the other frames. It sees movement to "
        "another position only through the attention within each frame."
    )
    what_trains = (
        "with image_encoder: frozen, the adapters, the time embedding, and the norm and projection after the last layer"
    )
    published = (
        "Kinetics-400: top-1 83.9 %, ViT-B/16, 8 frames, 3 x 1 views (taoyang1122/adapt-image-models, README)",
        "Diving48: top-1 88.9 %, ViT-B/16, 32 frames, 1 x 1 view (taoyang1122/adapt-image-models, README)",
    )
    tasks = ALL_TASKS
    search_space: ClassVar[SearchSpace] = {**LEARNING_NEW, "options.scale": {"low": 0.25, "high": 1.0}}
    inside = True

    class Config(Options):
        """Options of the adapters. The defaults are the released ones for Kinetics-400."""

        before_time: bool = Field(
            False,
            description="another adapter before the attention over time, as released for Something-Something V2",
        )
        scale: float = Field(0.5, ge=0, description="factor of the adapter beside the MLP; Something-Something V2: 1")
        ratio: float = Field(0.25, gt=0, le=1, description="width of a bottleneck as a share of the encoder's width")
        drop_path: float = Field(
            0.2,
            ge=0,
            lt=1,
            description="stochastic depth of the adapters of time and MLP in the last layer; linear from 0 in the first one",
        )
        max_frames: int = Field(64, ge=1, description="rows of the time embedding, the largest number of frames")

    config: Config

    def __init__(self, backbone: Backbone, config: Config) -> None:
        super().__init__(backbone, config)
        names = ["before_time"] * config.before_time + ["time", "space", "mlp"]
        width, hidden = backbone.width, max(1, int(config.ratio * backbone.width))
        self.adapters = nn.ModuleList(
            nn.ModuleDict({name: Adapter(width, hidden) for name in names}) for _ in backbone.layers
        )
        self.time_embed = nn.Parameter(torch.zeros(config.max_frames, width))
        last = max(1, len(backbone.layers) - 1)
        self.drop_path = nn.ModuleList(drop_path(config.drop_path * k / last) for k in range(len(backbone.layers)))

    def change_embedding(self, x_BTNV: Tensor) -> Tensor:
        """Return the tokens with the time embedding added. Raises ValueError for more than `max_frames` frames."""
        T = x_BTNV.shape[1]
        if self.config.max_frames < T:
            raise ValueError(
                f"aim takes at most {self.config.max_frames} frames (rows of its time embedding), not {T}; raise its "
                "option max_frames"
            )
        return x_BTNV + self.time_embed[:T, None].to(x_BTNV.dtype)

    def layer(self, number: int, layer: Layer, x_BTNV: Tensor) -> Tensor:
        """Return the output [B, T, N, V] of a layer with temporal attention and adapters."""
        adapters, frames = cast(nn.ModuleDict, self.adapters[number - 1]), x_BTNV.shape[:2]
        drop = self.drop_path[number - 1]
        x_BTNV = x_BTNV + drop(self._attend_in_time(adapters, layer, x_BTNV))
        seen_BTNV = layer.attention(x_BTNV.flatten(0, 1)).unflatten(0, frames)
        x_BTNV = x_BTNV + seen_BTNV + adapters["space"](seen_BTNV)
        normed_BTNV = layer.mlp_norm(x_BTNV)
        beside_BTNV = drop(self.config.scale * adapters["mlp"](normed_BTNV))
        return x_BTNV + layer.feed_forward(normed_BTNV) + beside_BTNV

    def _attend_in_time(self, adapters: nn.ModuleDict, layer: Layer, x_BTNV: Tensor) -> Tensor:
        """Return the adapted attention [B, T, N, V] over the frames at each token position."""
        B, _, N, _ = x_BTNV.shape
        x_STV = layer.attention_norm(x_BTNV).transpose(1, 2).flatten(0, 1)  # S: B x N sequences
        if self.config.before_time:
            x_STV = x_STV + adapters["before_time"](x_STV)
        x_STV = adapters["time"](layer.placed(None).attend(x_STV))
        return x_STV.unflatten(0, (B, N)).transpose(1, 2)
