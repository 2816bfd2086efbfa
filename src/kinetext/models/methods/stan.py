"""STAN (Liu et al., CVPR 2023, arXiv:2301.11116): a branch beside CLIP's last layers that attends across frames.

Layer k of the branch adds the tokens of CLIP layer C-K+k to its own state, attends over time at each patch position,
then over space within each frame; its video token is added to CLIP's class token of every frame. We follow the released
code (farewellthree/STAN @ c9dc7b6, clip_stan_hf.py), which departs from the paper in 13 places (reference/stan.md 1.8):
no projection W_proj between levels, CLIP's own class and position embeddings, a zero-initialised Linear after attention.
Trains CLIP and the branch. Adds 40,218,624 parameters at K = 4 on ViT-B (test_stan.py).

Before training the temporal half is the identity (its last Linear is zero), so with a zero time embedding the scores do
not depend on the order of frames; they do not equal mean_pool's, since the branch's spatial half is a copy of CLIP's
layers and adds to the class token from the start.

B clips, T frames, L patches, N = 1 + L tokens, V width, (h, w) the patch grid.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from kinetext.models.methods import Method, Tokens
from kinetext.models.temporal import Attention, zero_linear
from kinetext.registry import Options

if TYPE_CHECKING:
    from kinetext.models.backbone import Backbone

MAX_FRAMES = 64  # rows of the released code's time embedding


class Config(Options):
    """Defaults are the released code's."""

    layers: int = Field(4, ge=1, description="depth K of the branch; the paper takes 6 on Something-Something V2")
    temporal: Literal["attention", "conv3d"] = Field("attention", description="how a layer sees other frames")
    drop_path: float = Field(0.1, ge=0, lt=1, description="stochastic depth of the last layer, from 0 in the first")
    time_std: float = Field(1.0, ge=0, description="deviation of the time embedding's start; the code: N(0, 1)")


def stochastic_depth(rate: float) -> nn.Module:
    """Drops a whole clip's residual with this probability (Huang et al., ECCV 2016)."""
    from torchvision.ops import StochasticDepth  # 4 s, which a check of config.yaml need not spend

    return StochasticDepth(rate, "row")


class TemporalAttention(nn.Module):
    """LayerNorm, attention over T at each patch position, a Linear that starts at zero; residual."""

    def __init__(self, width: int, heads: int, drop_path: float) -> None:
        super().__init__()
        self.ln = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.drop_path = stochastic_depth(drop_path)
        self.fc = zero_linear(width, width)

    def forward(self, patches_BTLV: Tensor, grid: tuple[int, int]) -> Tensor:
        """Patches [B, T, L, V] that have seen the same place in other frames."""
        B, T, L, V = patches_BTLV.shape
        x = self.attn(self.ln(patches_BTLV).transpose(1, 2).reshape(B * L, T, V))
        x = self.fc(self.drop_path(x)).view(B, L, T, V)
        return patches_BTLV + x.transpose(1, 2)


class TemporalConv(nn.Module):
    """One full 3 x 3 x 3 convolution, no norm and no activation, then a Linear that starts at zero; residual."""

    def __init__(self, width: int, heads: int, drop_path: float) -> None:
        super().__init__()
        self.conv = nn.Conv3d(width, width, 3, padding=1)
        self.drop_path = stochastic_depth(drop_path)
        self.fc = zero_linear(width, width)

    def forward(self, patches_BTLV: Tensor, grid: tuple[int, int]) -> Tensor:
        """Patches [B, T, L, V] that have seen their neighbours in space and time."""
        x = self.conv(patches_BTLV.unflatten(2, grid).permute(0, 4, 1, 2, 3))  # B V T h w
        x = self.fc(self.drop_path(x.permute(0, 2, 3, 4, 1).flatten(2, 3)))
        return patches_BTLV + x


class Branch(nn.Module):
    """The K layers. A spatial layer is a copy of the CLIP layer of the same depth."""

    def __init__(self, backbone: Backbone, config: Config) -> None:
        super().__init__()
        blocks = backbone.visual.transformer.resblocks
        heads = blocks[0].attn.num_heads
        rates = torch.linspace(0, config.drop_path, config.layers).tolist()
        module = {"attention": TemporalAttention, "conv3d": TemporalConv}[config.temporal]
        self.grid = backbone.grid
        self.temporal = nn.ModuleList(module(backbone.width, heads, rate) for rate in rates)
        self.spatial = nn.ModuleList(deepcopy(block) for block in blocks[-config.layers :])
        self.spatial.requires_grad_(True)
        self.drop_path = nn.ModuleList(stochastic_depth(rate) for rate in rates)
        self.time_embed = nn.Parameter(config.time_std * torch.randn(MAX_FRAMES, backbone.width))

    def forward(self, levels: list[Tensor], class_embedding_V: Tensor, positions_NV: Tensor) -> Tensor:
        """The video token [B, V] from the tokens [B, T, N, V] of K levels."""
        T = levels[0].shape[1]
        cls_B1V: Tensor | None = None
        patches_BTLV: Tensor | None = None
        for tokens_BTNV, temporal, spatial, drop in zip(
            levels, self.temporal, self.spatial, self.drop_path, strict=True
        ):
            mean_B1V, level_BTLV = tokens_BTNV[:, :, :1].mean(1), tokens_BTNV[:, :, 1:]
            if cls_B1V is None or patches_BTLV is None:
                cls_B1V = (mean_B1V + class_embedding_V + positions_NV[0]) / 2
                patches_BTLV = level_BTLV + positions_NV[1:] + self.time_embed[:T, None]
            else:
                cls_B1V, patches_BTLV = cls_B1V + mean_B1V, patches_BTLV + level_BTLV
            patches_BTLV = temporal(patches_BTLV, self.grid)
            cls_B1V, patches_BTLV = _attend_in_space(spatial, drop, cls_B1V, patches_BTLV)
        assert cls_B1V is not None  # there is at least one level
        return cls_B1V[:, 0]


def _attend_in_space(block: Any, drop: nn.Module, cls_B1V: Tensor, patches_BTLV: Tensor) -> tuple[Tensor, Tensor]:
    """Every frame gets a copy of the video token, attends within itself, and the copies' answers are averaged; the
    feed-forward half then sees the video token once.
    """
    B, T, L, V = patches_BTLV.shape
    tokens = torch.cat([cls_B1V[:, None].expand(B, T, 1, V), patches_BTLV], 2).flatten(0, 1)
    seen = drop(block.ls_1(block.attention(block.ln_1(tokens)))).view(B, T, 1 + L, V)
    cls_B1V = cls_B1V + seen[:, :, :1].mean(1)
    patches_BTLV = patches_BTLV + seen[:, :, 1:]
    state = torch.cat([cls_B1V, patches_BTLV.flatten(1, 2)], 1)
    state = state + block.ls_2(block.mlp(block.ln_2(state)))
    return state[:, :1], state[:, 1:].view(B, T, L, V)


class Stan(Method):
    """Mean pooling over frames whose class token has the branch's video token added."""

    patches = True

    def __init__(self, backbone: Backbone, config: Config) -> None:
        if config.layers > backbone.num_layers:
            raise ValueError(f"stan.layers: {config.layers} is more than the backbone's {backbone.num_layers} layers")
        super().__init__(backbone, config)
        self.branch = Branch(backbone, config)

    @property
    def levels(self) -> tuple[int, ...]:
        """The last K layers."""
        last = self.backbone.num_layers
        return tuple(range(last - len(self.branch.spatial) + 1, last + 1))

    def encode_tokens(self, tokens: Tokens) -> Tensor:
        """The video feature [B, D]."""
        last_BTNV = tokens[self.backbone.num_layers]
        if last_BTNV.shape[1] > MAX_FRAMES:
            raise ValueError(
                f"stan takes at most {MAX_FRAMES} frames (rows of its time embedding), not {last_BTNV.shape[1]}"
            )
        visual = self.backbone.visual
        video_BV = self.branch(
            [tokens[level] for level in self.levels], visual.class_embedding, visual.positional_embedding
        )
        return self.backbone.project(last_BTNV[:, :, 0] + video_BV[:, None]).mean(1)


def build(backbone: Backbone, config: Config) -> Method:
    """The method on this backbone."""
    return Stan(backbone, config)
