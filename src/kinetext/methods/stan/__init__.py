"""STAN (Liu et al., CVPR 2023, arXiv:2301.11116): a branch beside CLIP's last layers that attends across frames.

Layer k of the branch adds the tokens of CLIP layer C-K+k to its own state, attends over time at each patch position,
then over space within each frame; its video token is added to CLIP's class token of every frame. `variant: code` is the
released code (farewellthree/STAN @ c9dc7b6, clip_stan_hf.py), with its numbers (tests/parity/test_stan.py); `variant:
paper` is the text. They differ in 13 places: 1 to 7 are named below by [1] to [7]. Both have [8]
cross-frame before intra-frame, which the text does not mention, and [12] K levels, as the paper's Table 8 and the code,
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

from typing import Any, Literal

from pydantic import Field, model_validator
from torch import Tensor

from kinetext.backbones.base import Backbone
from kinetext.backbones.text_table import TextTable, WordFeatures
from kinetext.core.plugins import Options
from kinetext.methods.base import Method, Tokens
from kinetext.methods.stan import mug
from kinetext.methods.stan.branch import MODULES, Branch


class Stan(Method):
    """Mean pooling over frames whose summary has the branch's video token added."""

    class Config(Options):
        """Defaults are the released code's."""

        variant: Literal["code", "paper"] = Field("code", description="which STAN, where the two differ")
        layers: int = Field(4, ge=1, description="depth K of the branch; the paper takes 6 on Something-Something V2")
        levels: tuple[int, ...] | None = Field(
            None, description="CLIP layer (1 is the first) that feeds each layer of the branch; null: the last K"
        )
        temporal: Literal["attention", "conv3d", "conv_bottleneck", "none"] = Field(
            "attention",
            description="cross-frame module; conv3d is the code's, conv_bottleneck the paper's; none: ablation",
        )
        intra_frame: bool = Field(
            True,
            description="false: ablation; class tokens attend across frames then, for nothing else reaches the result",
        )
        multi_level: bool = Field(True, description="false: ablation; only the first level feeds the branch")
        head: Literal["mean", "mug"] = Field(
            "mean", description="mug: frames against words (Mug-STAN, arXiv:2311.15075)"
        )
        drop_path: float | None = Field(
            None,
            ge=0,
            lt=1,
            description="stochastic depth of the last layer, from 0 in the first; null: 0.1, paper none",
        )
        dropout: float = Field(0.0, ge=0, lt=1, description="of the branch's input, Eq. 4; the paper gives no rate")
        time_std: float = Field(
            1.0, ge=0, description="deviation of the time embedding's start; the code: N(0, 1); 0: zeros"
        )
        max_frames: int = Field(64, ge=1, description="rows of the time embedding; the code: 64")

        @model_validator(mode="after")
        def _consistent(self) -> Any:
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
                raise ValueError(
                    f"levels: {len(self.levels)} levels for {self.layers} layers of the branch; give one each"
                )
            if self.levels is not None and (min(self.levels) < 1 or sorted(set(self.levels)) != list(self.levels)):
                raise ValueError(f"levels: {list(self.levels)} must rise from 1 or above")
            return self

    config: Config

    @classmethod
    def check_depth(cls, config: Any, depth: int, backbone: str = "the backbone") -> None:
        if config.layers > depth:
            raise ValueError(f"layers is {config.layers}, but {backbone} has {depth} layers")
        if config.levels and config.levels[-1] > depth:
            raise ValueError(f"levels is {list(config.levels)}, but {backbone} has {depth} layers")

    @classmethod
    def gives_video_feature(cls, config: Any) -> bool:
        return config.head == "mean"

    def __init__(self, backbone: Backbone, config: Config) -> None:
        self.check_depth(config, backbone.num_layers)
        super().__init__(backbone, config)
        self.patches = config.intra_frame
        self.branch = Branch(backbone, config)

    @property
    def levels(self) -> tuple[int, ...]:
        """The levels of the branch and the image encoder's last layer."""
        return tuple(sorted({*self.branch.levels, self.backbone.num_layers}))

    def encode_tokens(self, tokens: Tokens) -> Tensor:
        """Return the video feature [B, D], or that of every frame [B, T, D] for the head `mug`."""
        summary_BTV = self.summaries(tokens)
        if summary_BTV.shape[1] > self.config.max_frames:
            raise ValueError(
                f"stan takes at most {self.config.max_frames} frames (rows of its time embedding), not "
                f"{summary_BTV.shape[1]}; raise its option max_frames"
            )
        summaries = {level: self.summaries(tokens, level) for level in self.branch.levels}
        patches = {level: self.patch_tokens(tokens, level) for level in self.branch.levels}
        video_BV = self.branch(summaries, patches, self.backbone.embeddings(), self.gradient_checkpointing)
        frames_BTD = self.backbone.project(summary_BTV + video_BV[:, None])
        return frames_BTD if self.config.head == "mug" else frames_BTD.mean(1)

    def pool_texts(self, words: WordFeatures, table: TextTable) -> Any:
        """Return the classes' features [K, D], or the words of their sentences for the head `mug`."""
        return mug.class_words(words, table) if self.config.head == "mug" else super().pool_texts(words, table)

    def score(self, video: Any, text: Any) -> Tensor:
        """Return logits [B, K]."""
        if self.config.head == "mug":
            return self.backbone.logits(mug.class_scores(video, text))
        return super().score(video, text)
