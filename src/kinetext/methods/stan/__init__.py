"""STAN (Liu et al., CVPR 2023, arXiv:2301.11116): a branch parallel to CLIP's last layers that attends across frames.

The branch has K layers. Layer k adds the tokens of CLIP's layer C - K + k (of C layers) to the state of the branch. It
then attends over time at each patch position, and over space within each frame. The video token of the last layer is
added to the class token of every frame.

The paper and the released code differ. `variant: code` follows the code (farewellthree/STAN @ c9dc7b6, clip_stan_hf.py)
and gives equal outputs (tests/parity/test_stan.py). `variant: paper` follows the text. There are 13 differences:

- [1] to [7] concern the branch; comments in branch.py and cross_frame.py describe them.
- [8] Attention over time comes before attention over space. The paper leaves the order open; both variants do this.
- [12] K levels of CLIP feed the branch, as in the code and in Table 8 of the paper. Section 3.1 of the paper has K + 1.
- [9] the optimiser, [10] the words of DiDeMo and [11] the learning rates are options of a run, and [13] concerns the
  data set MSVD. See experiments/stan_*.yaml.

CLIP and the branch train. The branch adds 40,218,624 parameters with K = 4 on ViT-B (test_stan.py).

Before training, the temporal half of `variant: code` is the identity, because the last linear layer of each temporal
module is zero. With a zero time embedding, the scores then do not depend on frame order. They differ from mean_pool's
scores, because the spatial half starts as a copy of CLIP's layers and changes the class token from the start.

Where a backbone pools its tokens instead (SigLIP, PE-Core, CLIPA, CoCa), the pooled summary of a level replaces the
class token, and a class embedding or position that the model lacks is zero. Before training the same holds: frame order
has no effect with a zero time embedding, and scores differ from mean_pool's.

The ablations of the paper are options: `multi_level`, `temporal: none` (no cross-frame module), `intra_frame` and
`levels`. The posterior structure of the paper is the method seq_transformer. The paper does not say how a part was
removed; the description of each option says how it is done here.

B clips, T frames, L patches, N = 1 + L tokens, V width, (h, w) the patch grid, D width of the joint space, K classes.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator
from torch import Tensor

from kinetext.backbones.base import Backbone
from kinetext.backbones.text_table import TextTable, WordFeatures
from kinetext.core.plugins import Options
from kinetext.methods.base import ALL_TASKS, LEARNING_NEW, Method, SearchSpace, Tokens
from kinetext.methods.stan import mug
from kinetext.methods.stan.branch import MODULES, Branch


class Stan(Method):
    """Add the video token of the branch to the summary of each frame, then average over frames."""

    paper = "STAN (Liu et al., CVPR 2023)"
    mechanism = (
        "Adds a branch beside the last layers of the image encoder. The branch attends across frames, then within "
        "each frame."
    )
    equals_before_training = (
        "not zero-shot CLIP: the branch starts with copies of CLIP's layers and changes the class token; with "
        "time_std: 0, frame order has no effect"
    )
    cannot_see = (
        "Attention across frames compares a patch only with the same position in the other frames. It sees "
        "movement to another position only through the attention within each frame."
    )
    tasks = ALL_TASKS
    search_space: ClassVar[SearchSpace] = LEARNING_NEW

    class Config(Options):
        """Options of the branch and the head. The defaults are those of the released code."""

        variant: Literal["code", "paper"] = Field(
            "code", description="which source is followed where code and paper differ"
        )
        layers: int = Field(4, ge=1, description="layers K of the branch; the paper uses 6 on Something-Something V2")
        levels: tuple[int, ...] | None = Field(
            None, description="CLIP layer (1 is the first) that feeds each layer of the branch; null: the last K"
        )
        temporal: Literal["attention", "conv3d", "conv_bottleneck", "none"] = Field(
            "attention",
            description="cross-frame module; conv3d is the code's, conv_bottleneck the paper's; none: ablation",
        )
        intra_frame: bool = Field(
            True,
            description="false: ablation; no patches are read, and the class tokens attend across frames instead",
        )
        multi_level: bool = Field(True, description="false: ablation; only the first of `levels` feeds the branch")
        head: Literal["mean", "mug"] = Field(
            "mean", description="mug: frames against words (Mug-STAN, arXiv:2311.15075)"
        )
        drop_path: float | None = Field(
            None,
            ge=0,
            lt=1,
            description="stochastic depth of the last layer, rising from 0 in the first; null: 0.1, or none for variant paper",
        )
        dropout: float = Field(
            0.0, ge=0, lt=1, description="dropout of the input of the branch (Eq. 4); the paper gives no rate"
        )
        time_std: float = Field(
            1.0,
            ge=0,
            description="standard deviation of the initial time embedding; the code draws from N(0, 1); 0: zeros",
        )
        max_frames: int = Field(
            64, ge=1, description="rows of the time embedding, the largest number of frames; 64 in the code"
        )

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
    def gives_frame_motion(cls, config: Any) -> bool:
        return True

    def __init__(self, backbone: Backbone, config: Config) -> None:
        self.check_depth(config, backbone.num_layers)
        super().__init__(backbone, config)
        self.patches = config.intra_frame
        self.branch = Branch(backbone, config)

    @property
    def levels(self) -> tuple[int, ...]:
        """The layers of the image encoder that feed the branch, and the last layer of the image encoder."""
        return tuple(sorted({*self.branch.levels, self.backbone.num_layers}))

    def encode_tokens(self, tokens: Tokens) -> Tensor:
        """Return the video features [B, D], or with the head `mug` the frame features [B, T, D].

        Raises ValueError if there are more than `max_frames` frames.
        """
        frames_BTD = self.frame_motion(tokens, per_frame=False)
        return frames_BTD if self.config.head == "mug" else frames_BTD.mean(1)

    def frame_motion(self, tokens: Tokens, per_frame: bool = True) -> Tensor:
        """Return the frame features [B, T, D] with the video token added.

        With `per_frame`, each frame gets the video token that the last layer computes for it; otherwise, all frames
        share one.
        """
        summary_BTV = self.summaries(tokens)
        if summary_BTV.shape[1] > self.config.max_frames:
            raise ValueError(
                f"stan takes at most {self.config.max_frames} frames (rows of its time embedding), not "
                f"{summary_BTV.shape[1]}; raise its option max_frames"
            )
        summaries = {level: self.summaries(tokens, level) for level in self.branch.levels}
        patches = {level: self.patch_tokens(tokens, level) for level in self.branch.levels}
        embeddings = self.backbone.embeddings()
        video_BTV = self.branch(summaries, patches, embeddings, self.gradient_checkpointing, per_frame)
        return self.backbone.project(summary_BTV + video_BTV)

    def pool_texts(self, words: WordFeatures, table: TextTable) -> Any:
        """Return the class features [K, D], or with the head `mug` the word features of the sentences of each class."""
        return mug.class_words(words, table) if self.config.head == "mug" else super().pool_texts(words, table)

    def score(self, video: Any, text: Any) -> Tensor:
        """Return the logits [B, K] of all pairs."""
        if self.config.head == "mug":
            return self.backbone.logits(mug.class_scores(video, text))
        return super().score(video, text)
