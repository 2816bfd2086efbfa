"""STAN (Liu et al., CVPR 2023, arXiv:2301.11116): a branch beside CLIP's last layers that attends across frames.

Layer k of the branch adds the tokens of CLIP layer C-K+k to its own state, attends over time at each patch position,
then over space within each frame; its video token is added to CLIP's class token of every frame. `variant: code` is the
released code (farewellthree/STAN @ c9dc7b6, clip_stan_hf.py), with its numbers (tests/parity/test_stan.py); `variant:
paper` is the text. They differ in 13 places (reference/stan.md 1.8): 1 to 7 are named below by [1] to [7]. Both have [8]
cross-frame before intra-frame, of which the text says nothing, and [12] K levels, as the paper's Table 8 and the code,
where its section 3.1 has K + 1. [9] the optimiser, [10] DiDeMo's words and [11] the learning rates are settings of
a run, and [13] MSVD is a data set: experiments/stan_*.yaml.

Trains CLIP and the branch. Adds 40,218,624 parameters at K = 4 on ViT-B (test_stan.py).

Before training the temporal half of the code is the identity (its last Linear is zero), so with a zero time embedding the
scores do not depend on the order of frames; they do not equal mean_pool's, since the branch's spatial half is a copy of
CLIP's layers and adds to the class token from the start.

The paper's ablations are options: `multi_level`, `temporal: none` (no cross-frame module), `intra_frame`, `levels`, and
seq_transformer is its posterior. How the paper cut a part out is not published; how we do is said at each option.

B clips, T frames, L patches, N = 1 + L tokens, V width, (h, w) the patch grid.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from kinetext.backbones.attention import attend_with, checkpointed, feed_forward
from kinetext.backbones.text_table import TextTable, WordFeatures
from kinetext.core.plugins import Options
from kinetext.methods import Method, Tokens
from kinetext.methods.blocks import drop_path, identity_linear
from kinetext.methods.stan import mug
from kinetext.methods.stan.cross_frame import PlainTimeAttention, TimeAttention, TimeBottleneck, TimeConv

if TYPE_CHECKING:
    from kinetext.backbones.open_clip_vit import Backbone

MODULES: dict[tuple[str, str], type[nn.Module]] = {
    ("code", "attention"): TimeAttention,  # [5] LayerNorm, DropPath and a zero Linear around it, [6] CLIP's heads
    ("paper", "attention"): PlainTimeAttention,  # [5] attention + residual, [6] a single head
    ("code", "conv3d"): TimeConv,  # [7] full, without activation
    ("paper", "conv_bottleneck"): TimeBottleneck,  # [7] Eq. 9
}


class Config(Options):
    """Defaults are the released code's."""

    variant: Literal["code", "paper"] = Field("code", description="which STAN, where the two differ")
    layers: int = Field(4, ge=1, description="depth K of the branch; the paper takes 6 on Something-Something V2")
    levels: tuple[int, ...] | None = Field(
        None, description="CLIP layer (1 is the first) that feeds each layer of the branch; null: the last K"
    )
    temporal: Literal["attention", "conv3d", "conv_bottleneck", "none"] = Field(
        "attention", description="cross-frame module; conv3d is the code's, conv_bottleneck the paper's; none: ablation"
    )
    intra_frame: bool = Field(
        True, description="false: ablation; class tokens attend across frames then, for nothing else reaches the result"
    )
    multi_level: bool = Field(True, description="false: ablation; only the first level feeds the branch")
    head: Literal["mean", "mug"] = Field("mean", description="mug: frames against words (Mug-STAN, arXiv:2311.15075)")
    drop_path: float | None = Field(
        None, ge=0, lt=1, description="stochastic depth of the last layer, from 0 in the first; null: 0.1, paper none"
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="of the branch's input, Eq. 4; the paper gives no rate")
    time_std: float = Field(
        1.0, ge=0, description="deviation of the time embedding's start; the code: N(0, 1); 0: zeros"
    )
    max_frames: int = Field(64, ge=1, description="rows of the time embedding; the code: 64")

    @model_validator(mode="after")
    def _one_of_the_two(self) -> Config:
        paper = self.variant == "paper"
        if self.temporal != "none" and (self.variant, self.temporal) not in MODULES:
            other = "code" if paper else "paper"
            raise ValueError(f"temporal: {self.temporal} is of variant: {other}, not of variant: {self.variant}")
        if paper and self.drop_path:
            raise ValueError("drop_path: the paper has none; take variant: code or remove it")
        if self.dropout and not paper:
            raise ValueError("dropout: the released code has none; take variant: paper or remove it")
        if not self.intra_frame and self.temporal != "attention":
            raise ValueError(f"intra_frame: false needs temporal: attention, not {self.temporal}")
        if self.levels is not None and len(self.levels) != self.layers:
            raise ValueError(f"levels: {len(self.levels)} levels for {self.layers} layers of the branch; give one each")
        if self.levels is not None and (min(self.levels) < 1 or sorted(set(self.levels)) != list(self.levels)):
            raise ValueError(f"levels: {list(self.levels)} must rise from 1 or above")
        return self


def check_depth(config: Config, depth: int, backbone: str = "the backbone") -> None:
    """Refuse more layers, or higher levels, than an image tower of this depth has."""
    if config.layers > depth:
        raise ValueError(f"layers is {config.layers}, but {backbone} has {depth} layers")
    if config.levels and config.levels[-1] > depth:
        raise ValueError(f"levels is {list(config.levels)}, but {backbone} has {depth} layers")


class Branch(nn.Module):
    """The K layers. A spatial layer starts as a copy of the CLIP layer that feeds it."""

    def __init__(self, backbone: Backbone, config: Config) -> None:
        super().__init__()
        self.config, self.grid, V = config, backbone.grid, backbone.width
        self.gradient_checkpointing = False  # gradient checkpointing (training.gradient_checkpointing)
        blocks = backbone.visual.transformer.resblocks
        heads, last = blocks[0].attn.num_heads, backbone.num_layers
        self.levels = config.levels or tuple(range(last - config.layers + 1, last + 1))  # [12]
        largest = 0.1 if config.drop_path is None and config.variant == "code" else config.drop_path or 0.0
        rates = [largest * k / max(1, config.layers - 1) for k in range(config.layers)]
        if config.temporal != "none":
            module = MODULES[config.variant, config.temporal]
            self.temporal = nn.ModuleList(module(V, heads, rate) for rate in rates)
        if config.intra_frame:
            self.spatial = nn.ModuleList(deepcopy(blocks[level - 1]) for level in self.levels)
            self.spatial.requires_grad_(True)
            self.drop_path = nn.ModuleList(drop_path(rate) for rate in rates)
        self.time_embed = nn.Parameter(config.time_std * torch.randn(config.max_frames, V))
        if config.variant == "paper":
            # [3] its own Pos_s; that it starts at zero is ours
            self.space_embed = nn.Parameter(torch.zeros(self.grid[0] * self.grid[1] if config.intra_frame else 1, V))
            # [1] W_proj; that it starts as the identity, the code's plain sum, is ours
            later = self.levels[1:] if config.multi_level else ()
            self.project = nn.ModuleList(identity_linear(V) for _ in later)
        self.dropout = nn.Dropout(config.dropout)  # [4]

    def forward(self, tokens: Tokens, class_embedding_V: Tensor, positions_NV: Tensor) -> Tensor:
        """The video token [B, V] from the tokens [B, T, N, V] of the levels."""
        cls_B1V, patches_BLTV = self.start(tokens[self.levels[0]], class_embedding_V, positions_NV)
        for k, level in enumerate(self.levels):
            if k and self.config.multi_level:
                level_BTNV = tokens[level]
                if self.config.variant == "paper":
                    level_BTNV = self.project[k - 1](level_BTNV)  # [1]
                mean_B1V, level_BLTV = self._split(level_BTNV)
                cls_B1V, patches_BLTV = cls_B1V + mean_B1V, patches_BLTV + level_BLTV
            whole = k < len(self.levels) - 1  # of the last layer only the video token is used
            layer = (self.layer, k, cls_B1V, patches_BLTV, whole)
            cls_B1V, patches_BLTV = checkpointed(*layer) if self.gradient_checkpointing else layer[0](*layer[1:])
        return (cls_B1V if self.config.intra_frame else patches_BLTV[:, 0].mean(1, keepdim=True))[:, 0]

    def start(self, tokens_BTNV: Tensor, class_embedding_V: Tensor, positions_NV: Tensor) -> tuple[Tensor, Tensor]:
        """The branch's input from its first level: the video token [B, 1, V] and the patches [B, L, T, V]."""
        mean_B1V, level_BLTV = self._split(tokens_BTNV)
        time_TV = self.time_embed[: tokens_BTNV.shape[1]]
        if self.config.variant == "paper":
            return mean_B1V, self.dropout(self.space_embed[:, None] + time_TV + level_BLTV)  # [2], [3], [4]
        # [2], [3] CLIP's own embeddings once more
        place_LV = positions_NV[1:] if self.config.intra_frame else positions_NV[:1]
        return (mean_B1V + class_embedding_V + positions_NV[0]) / 2, place_LV[:, None] + time_TV + level_BLTV

    def _split(self, tokens_BTNV: Tensor) -> tuple[Tensor, Tensor]:
        """The mean class token and the patches; the class tokens in their place where patches have no module."""
        cls_BT1V = tokens_BTNV[:, :, :1]
        places = tokens_BTNV[:, :, 1:] if self.config.intra_frame else cls_BT1V
        return cls_BT1V.mean(1), places.transpose(1, 2)

    def layer(self, k: int, cls_B1V: Tensor, patches_BLTV: Tensor, whole: bool) -> tuple[Tensor, Tensor]:
        """Layer k [8]: across frames, then within each. Without `whole` the patches do not see each other."""
        if self.config.temporal != "none":
            patches_BLTV = self.temporal[k](patches_BLTV, self.grid)
        if self.config.intra_frame:
            return attend_in_space(self.spatial[k], self.drop_path[k], cls_B1V, patches_BLTV, whole)
        return cls_B1V, patches_BLTV


def attend_in_space(
    block: Any, drop: nn.Module, cls_B1V: Tensor, patches_BLTV: Tensor, whole: bool
) -> tuple[Tensor, Tensor]:
    """Every frame gets a copy of the video token, attends within itself, and the copies' answers are averaged; the
    feed-forward half then sees the video token once.
    """
    B, _, T, V = patches_BLTV.shape
    tokens_BTNV = torch.cat([cls_B1V[:, None].expand(B, T, 1, V), patches_BLTV.transpose(1, 2)], 2)
    seen = drop(attend_with(block, tokens_BTNV.flatten(0, 1), first=None if whole else 1)).unflatten(0, (B, T))
    cls_B1V = cls_B1V + seen[:, :, :1].mean(1)
    cls_B1V = cls_B1V + feed_forward(block, cls_B1V)
    if whole:
        patches_BLTV = patches_BLTV + seen[:, :, 1:].transpose(1, 2)
        patches_BLTV = patches_BLTV + feed_forward(block, patches_BLTV)
    return cls_B1V, patches_BLTV


class Stan(Method):
    """Mean pooling over frames whose class token has the branch's video token added."""

    def __init__(self, backbone: Backbone, config: Config) -> None:
        check_depth(config, backbone.num_layers)
        super().__init__(backbone, config)
        self.options = config
        self.patches = config.intra_frame
        self.branch = Branch(backbone, config)

    @property
    def levels(self) -> tuple[int, ...]:
        """The levels of the branch and CLIP's last layer."""
        return tuple(sorted({*self.branch.levels, self.backbone.num_layers}))

    def encode_tokens(self, tokens: Tokens) -> Tensor:
        """The video feature [B, D], or that of every frame [B, T, D] for the head `mug`."""
        cls_BTV = tokens[self.backbone.num_layers][:, :, 0]
        if cls_BTV.shape[1] > self.options.max_frames:
            raise ValueError(
                f"stan takes at most {self.options.max_frames} frames (rows of its time embedding), not "
                f"{cls_BTV.shape[1]}; raise its option max_frames"
            )
        visual = self.backbone.visual
        video_BV = self.branch(tokens, visual.class_embedding, visual.positional_embedding)
        frames_BTD = self.backbone.project(cls_BTV + video_BV[:, None])
        return frames_BTD if self.options.head == "mug" else frames_BTD.mean(1)

    def pool_texts(self, words: WordFeatures, table: TextTable) -> Any:
        """The classes' features [K, D], or the words of their sentences for the head `mug`."""
        return mug.spoken(words, table) if self.options.head == "mug" else super().pool_texts(words, table)

    def score(self, video: Any, text: Any) -> Tensor:
        """Logits [B, K]."""
        if self.options.head == "mug":
            return self.backbone.logit_scale * mug.class_scores(video, text)
        return super().score(video, text)


def build(backbone: Backbone, config: Config) -> Method:
    """The method on this backbone."""
    return Stan(backbone, config)
