"""ST-Adapter (Pan et al., NeurIPS 2022): bottlenecks with a depthwise convolution over time inside the frozen encoder.

An adapter processes the patches of all frames: a down-projection to half the width, a depthwise convolution over 3
frames at each patch position, an up-projection, and a residual; there is no activation. It precedes the MLP of every
layer (Kinetics-400), or both attention and MLP (Something-Something V2). Class tokens bypass it and see other frames
only through the patches. A backbone without a class token pools the adapted patches as usual.

With `image_encoder: frozen` the adapters and the norm and projection after the last layer train. On ViT-B/16 an adapter
has 592 512 parameters; the paper counts 12 of them (7.11 M) or 24 (14.22 M). The adapter before the last MLP, in the
released code too, changes patches that no class token reads (its gradient is zero). It is built here only if the
backbone pools patches, so 6.52 M or 13.63 M are added.

Before training the convolutions are zero, and the method equals mean_pool, which is zero-shot CLIP, on every backbone.

Released settings (linziyi96/st-adapter @ b914b38): a linear classifier with dropout 0.5 on ln_post of the mean class
token, AdamW, learning rate 1e-3 per 256 clips, weight decay 0.01; Kinetics-400: 12 epochs, 8 frames at stride 16;
Something-Something V2: 50 epochs of 8 segments, RandAugment. `average: tokens` averages before the norm, as released.
Here, clips are scored against class texts.

B clips, T frames, N tokens of a frame, L patches, (h, w) the patch grid, V width, C width of the bottleneck.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn

from kinetext.backbones.base import Backbone
from kinetext.backbones.layer import Layer
from kinetext.core.plugins import Options
from kinetext.methods.base import ALL_TASKS, LEARNING_NEW, Method, SearchSpace, Tokens


class SpaceTimeAdapter(nn.Module):
    """A bottleneck with a depthwise convolution over frames, and a residual. It is the identity before training."""

    def __init__(self, width: int, hidden: int, kernel: tuple[int, int, int]) -> None:
        super().__init__()
        self.down = nn.Linear(width, hidden)
        padding = tuple(size // 2 for size in kernel)
        self.conv = nn.Conv3d(hidden, hidden, kernel, padding=padding, groups=hidden)  # type: ignore[arg-type]
        self.up = nn.Linear(hidden, width)
        for zero in (self.conv.weight, self.conv.bias, self.down.bias, self.up.bias):
            nn.init.zeros_(cast(Tensor, zero))

    def forward(self, patches_BTLV: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return the patches [B, T, L, V] with the output of the bottleneck added."""
        x_BTLC = self.down(patches_BTLV)
        in_time = self.conv.kernel_size[1:] == (1, 1)
        x_BTLC = self._shift_frames(x_BTLC) if in_time else self._convolve(x_BTLC, grid)
        return patches_BTLV + self.up(x_BTLC)

    def _shift_frames(self, x_BTLC: Tensor) -> Tensor:
        """Return the convolution over frames as a sum of shifted frames, faster on GPUs than a depthwise Conv3d."""
        weight_CK, T = self.conv.weight.flatten(1).to(x_BTLC.dtype), x_BTLC.shape[1]
        K = weight_CK.shape[1]
        padded = F.pad(x_BTLC, (0, 0, 0, 0, K // 2, K // 2))
        output = padded[:, :T] * weight_CK[:, 0]
        for k in range(1, K):
            output = output.addcmul(padded[:, k : k + T], weight_CK[:, k])
        return output + cast(Tensor, self.conv.bias).to(x_BTLC.dtype)

    def _convolve(self, x_BTLC: Tensor, grid: tuple[int, int]) -> Tensor:
        x_BCThw = self.conv(x_BTLC.unflatten(2, grid).permute(0, 4, 1, 2, 3))
        return x_BCThw.permute(0, 2, 3, 4, 1).flatten(2, 3)


class StAdapter(Method):
    """Average frame features of an encoder with ST-Adapters."""

    paper = "ST-Adapter (Pan et al., NeurIPS 2022)"
    mechanism = "Adds a small convolution over 3 frames to the layers of the image encoder."
    equals_before_training = "zero-shot CLIP, with average: features (default)"
    cannot_see = (
        "An adapter sees only the previous and the next frame, at the same patch position (kernel: [3, 1, 1]). "
        "Frames that are further apart are connected only through several layers."
    )
    what_trains = "with image_encoder: frozen, the adapters, and the norm and projection after the last layer"
    published = (
        "Kinetics-400: top-1 82.0 %, ViT-B/16, 8 frames, 1 x 3 views (quoted in STAN, CVPR 2023, Table 4)",
        "Something-Something V2: top-1 67.1 %, ViT-B/16, 8 frames, 1 x 3 views (quoted in STAN, CVPR 2023, Table 5)",
    )
    tasks = ALL_TASKS
    search_space: ClassVar[SearchSpace] = LEARNING_NEW
    inside = True

    class Config(Options):
        """Options of the adapters. The defaults are the released ones for Kinetics-400."""

        before: Literal["mlp", "attention", "both"] = Field(
            "mlp", description="where the adapters stand; both: as released for Something-Something V2"
        )
        width: int | None = Field(None, ge=1, description="width of the bottleneck; null: half of the encoder's width")
        layers: int | None = Field(None, ge=1, description="number of last layers with adapters; null: all layers")
        kernel: tuple[int, int, int] = Field(
            (3, 1, 1), description="frames, rows and columns of the depthwise convolution, odd numbers"
        )
        average: Literal["features", "tokens"] = Field(
            "features",
            description="what is averaged over frames: projected features, as in CLIP, or the tokens before the last norm, as released",
        )

        @field_validator("kernel")
        @classmethod
        def _odd(cls, kernel: tuple[int, int, int]) -> tuple[int, int, int]:
            if any(size < 1 or size % 2 == 0 for size in kernel):
                raise ValueError(f"kernel: {list(kernel)} must have odd numbers only")
            return kernel

    config: Config

    @classmethod
    def check_depth(cls, config: Any, depth: int, backbone: str = "the backbone") -> None:
        if config.layers and config.layers > depth:
            raise ValueError(f"layers is {config.layers}, but {backbone} has {depth} layers")

    def __init__(self, backbone: Backbone, config: Config) -> None:
        self.check_depth(config, backbone.num_layers)
        super().__init__(backbone, config)
        last = backbone.num_layers
        numbers = range(last - (config.layers or last) + 1, last + 1)
        before_mlp = [n for n in numbers if n < last or backbone.pools_patches]
        self.before_attention = self._adapters(numbers if config.before != "mlp" else ())
        self.before_mlp = self._adapters(before_mlp if config.before != "attention" else ())
        if not self.before_attention and not self.before_mlp:
            raise ValueError(
                "st_adapter: layers: 1 with before: mlp leaves no adapter, because no class token reads the patches after the "
                "last MLP; raise layers or set before: both"
            )

    def _adapters(self, numbers: Any) -> nn.ModuleDict:
        """Return an adapter for each layer in `numbers`, by layer number."""
        width, hidden = self.backbone.width, self.config.width or self.backbone.width // 2
        return nn.ModuleDict({str(n): SpaceTimeAdapter(width, hidden, self.config.kernel) for n in numbers})

    def layer(self, number: int, layer: Layer, x_BTNV: Tensor) -> Tensor:
        """Return the output of a layer with adapters before its branches."""
        frames = x_BTNV.shape[:2]
        x_BTNV = self._adapt(self.before_attention, number, x_BTNV)
        x_BTNV = x_BTNV + layer.attention(x_BTNV.flatten(0, 1)).unflatten(0, frames)
        x_BTNV = self._adapt(self.before_mlp, number, x_BTNV)
        return x_BTNV + layer.mlp(x_BTNV.flatten(0, 1)).unflatten(0, frames)

    def _adapt(self, adapters: nn.ModuleDict, number: int, x_BTNV: Tensor) -> Tensor:
        """Return the tokens with their patches adapted, if the layer has such an adapter."""
        if str(number) not in adapters:
            return x_BTNV
        first = self.backbone.prefix_tokens
        patches_BTLV = adapters[str(number)](x_BTNV[:, :, first:], self.backbone.grid)
        return torch.cat([x_BTNV[:, :, :first], patches_BTLV], 2)

    def encode_tokens(self, tokens: Tokens) -> Tensor:
        """Return the video features [B, D]."""
        if self.config.average == "tokens":
            return self.backbone.project(self.summaries(tokens).mean(1, keepdim=True))[:, 0]
        return super().encode_tokens(tokens)
