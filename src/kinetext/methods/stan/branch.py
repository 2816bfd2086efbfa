"""STAN's branch: layers parallel to the image encoder's last ones that attend across, then within frames.

Numbers in brackets refer to the differences between code and paper in the package docstring.

B clips, T frames, L patches, N = 1 + L tokens, V width, (h, w) the patch grid.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from kinetext.backbones.base import Backbone
from kinetext.backbones.layer import Layer, checkpointed, copy_layer
from kinetext.methods.base import Tokens
from kinetext.methods.blocks import drop_path, identity_linear
from kinetext.methods.stan.cross_frame import PlainTimeAttention, TimeAttention, TimeBottleneck, TimeConv

MODULES: dict[tuple[str, str], type[nn.Module]] = {
    ("code", "attention"): TimeAttention,  # [5] LayerNorm, DropPath and a zero Linear around it, [6] CLIP's heads
    ("paper", "attention"): PlainTimeAttention,  # [5] attention + residual, [6] a single head
    ("code", "conv3d"): TimeConv,  # [7] full, without activation
    ("paper", "conv_bottleneck"): TimeBottleneck,  # [7] Eq. 9
}


class Branch(nn.Module):
    """The K layers of the branch. A spatial layer starts as a copy of the CLIP layer that feeds it."""

    def __init__(self, backbone: Backbone, config: Any) -> None:
        super().__init__()
        self.config, self.grid, V = config, backbone.grid, backbone.width
        heads, last = backbone.layers[0].num_heads, backbone.num_layers
        self.levels = config.levels or tuple(range(last - config.layers + 1, last + 1))  # [12]
        largest = 0.1 if config.drop_path is None and config.variant == "code" else config.drop_path or 0.0
        rates = [largest * k / max(1, config.layers - 1) for k in range(config.layers)]
        if config.temporal != "none":
            module = MODULES[config.variant, config.temporal]
            self.temporal = nn.ModuleList(module(V, heads, rate) for rate in rates)
        if config.intra_frame:
            originals = (backbone.layers[level - 1].placed(1) for level in self.levels)  # after the video token
            self.spatial = nn.ModuleList(copy_layer(layer) for layer in originals)
            self.drop_path = nn.ModuleList(drop_path(rate) for rate in rates)
        self.time_embed = nn.Parameter(config.time_std * torch.randn(config.max_frames, V))
        if config.variant == "paper":
            # [3] a separate Pos_s; zero initialisation is ours
            self.space_embed = nn.Parameter(torch.zeros(self.grid[0] * self.grid[1] if config.intra_frame else 1, V))
            # [1] W_proj; identity initialisation, the code's plain sum, is ours
            later = self.levels[1:] if config.multi_level else ()
            self.project = nn.ModuleList(identity_linear(V) for _ in later)
        self.dropout = nn.Dropout(config.dropout)  # [4]

    def forward(
        self,
        summaries: Tokens,
        patches: Tokens,
        embeddings: tuple[Tensor, Tensor, Tensor],
        gradient_checkpointing: bool = False,
        per_frame: bool = False,
    ) -> Tensor:
        """Return the video token [B, 1, V], or with `per_frame` the token of each frame in the last layer [B, T, V].

        `summaries` [B, T, V] and `patches` [B, T, L, V] hold the tokens of each level. Without `intra_frame` the
        patches are the summaries [B, T, 1, V]. `embeddings` is the result of `Backbone.embeddings`.
        """
        first = self.levels[0]
        cls_B1V, patches_BLTV = self.start(summaries[first], patches[first], embeddings)
        for k, level in enumerate(self.levels):
            if k and self.config.multi_level:
                summary_BTV, level_BTLV = summaries[level], patches[level]
                if self.config.variant == "paper":
                    summary_BTV, level_BTLV = (self.project[k - 1](x) for x in (summary_BTV, level_BTLV))  # [1]
                cls_B1V = cls_B1V + summary_BTV.mean(1, keepdim=True)
                patches_BLTV = patches_BLTV + level_BTLV.transpose(1, 2)
            whole = k < len(self.levels) - 1  # only the video token of the last layer is used
            inputs = (k, cls_B1V, patches_BLTV, per_frame and not whole, whole)
            cls_B1V, patches_BLTV = checkpointed(self.layer, *inputs) if gradient_checkpointing else self.layer(*inputs)
        if self.config.intra_frame:
            return cls_B1V
        return patches_BLTV[:, 0] if per_frame else patches_BLTV[:, 0].mean(1, keepdim=True)

    def start(
        self, summary_BTV: Tensor, patches_BTLV: Tensor, embeddings: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return the input of the first layer of the branch: the video token [B, 1, V] and the patches [B, L, T, V]."""
        mean_B1V, patches_BLTV = summary_BTV.mean(1, keepdim=True), patches_BTLV.transpose(1, 2)
        time_TV = self.time_embed[: summary_BTV.shape[1]]
        if self.config.variant == "paper":
            return mean_B1V, self.dropout(self.space_embed[:, None] + time_TV + patches_BLTV)  # [2], [3], [4]
        # [2], [3] CLIP's embeddings, added a second time
        class_V, class_position_V, positions_LV = embeddings
        offset_LV = positions_LV if self.config.intra_frame else class_position_V[None]
        return (mean_B1V + class_V + class_position_V) / 2, offset_LV[:, None] + time_TV + patches_BLTV

    def layer(
        self, k: int, cls_B1V: Tensor, patches_BLTV: Tensor, per_frame: bool, whole: bool
    ) -> tuple[Tensor, Tensor]:
        """Run layer k: attention across frames, then within each frame [8]. Returns the video token and the patches.

        If `whole` is false, the attention within each frame updates the video token only. With `per_frame` there is a
        video token per frame.
        """
        if self.config.temporal != "none":
            patches_BLTV = self.temporal[k](patches_BLTV, self.grid)
        if self.config.intra_frame:
            spatial = cast(Layer, self.spatial[k])
            return attend_in_space(spatial, self.drop_path[k], cls_B1V, patches_BLTV, whole, per_frame)
        return cls_B1V, patches_BLTV


def attend_in_space(
    layer: Layer, drop: nn.Module, cls_B1V: Tensor, patches_BLTV: Tensor, whole: bool, per_frame: bool = False
) -> tuple[Tensor, Tensor]:
    """Run the layer within each frame, on the patches and a copy of the video token; return (video token, patches).

    The attention outputs for the copies of the video token are averaged, and the MLP runs once on the result. With
    `per_frame` they are not averaged, and the video token becomes [B, T, V]. If `whole` is false, the patches are
    returned unchanged.
    """
    B, _, T, V = patches_BLTV.shape
    tokens_BTNV = torch.cat([cls_B1V[:, None].expand(B, T, 1, V), patches_BLTV.transpose(1, 2)], 2)
    seen = drop(layer.attention(tokens_BTNV.flatten(0, 1), num_queries=None if whole else 1)).unflatten(0, (B, T))
    cls_B1V = cls_B1V + (seen[:, :, 0] if per_frame else seen[:, :, :1].mean(1))
    cls_B1V = cls_B1V + layer.mlp(cls_B1V)
    if whole:
        patches_BLTV = patches_BLTV + seen[:, :, 1:].transpose(1, 2)
        patches_BLTV = patches_BLTV + layer.mlp(patches_BLTV)
    return cls_B1V, patches_BLTV
