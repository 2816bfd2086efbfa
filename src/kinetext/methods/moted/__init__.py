"""MoTED, reconstructed from the abstract of "Enhanced Motion-Text Alignment for Image-to-Video Transfer Learning"
(Zhang et al., CVPR 2024); the paper was not available. The abstract names GPT-4's descriptions of how confusable
classes differ in motion, perception modules in both encoders, and a contrastive loss between visual and textual motion
features. Everything else, including all default values, is a reconstruction.

- Image side: appearance is the mean of CLIP's frame features. Motion is one feature per phase of the clip: the mean of
  the frames of that phase, plus the output of another method (`visual`, STAN by default) through a Linear that starts
  at zero.
- Text side: appearance is the mean of the class-name features. Motion is one feature per phase: the mean of the
  descriptions of that phase (with `weights: learned` a weighted mean that starts as the plain one), plus the output of
  a few learned queries that attend to the words of all descriptions, through a Linear that starts at zero.
- Loss (`Moted.losses`): appearance + `align` x motion + `hard` x rivals. All three are cross-entropies. The first two
  are over all classes; `rivals` uses the motion scores among a class and its rivals only.
- Score: appearance + `motion` x the mean of the motion scores of the phases.

CLIP, the temporal method and the reader train. Before training the motion score equals the score of
ordered_descriptions, the best training-free score on novel classes in a prototype. On the shapes data set, training
keeps most of that accuracy under two conditions (docs/lab-log.md): the text encoder is frozen, and `motion` is large
enough for the descriptions to outweigh the names. With align = hard = motion = 0 the method equals mean_pool on the
names (tests/methods/test_moted.py).

B clips, T frames, K classes, S sentences, L words, P phases, Q queries, D joint width.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from kinetext.backbones.attention import cosine_scores
from kinetext.backbones.base import Backbone, Layer
from kinetext.backbones.text_table import TextTable, WordFeatures, class_means, require_descriptions
from kinetext.core.plugins import Options
from kinetext.core.positions import NAMED
from kinetext.methods.base import (
    LEARNING_NEW,
    LossInputs,
    Method,
    SearchSpace,
    Task,
    Tokens,
    build_method,
    configure_method,
)
from kinetext.methods.blocks import zero_linear
from kinetext.methods.moted.reader import Reader
from kinetext.methods.ordered_descriptions import end_frames, part_means


class AppearanceMotion(NamedTuple):
    """Appearance and motion features: [B, D] and [B, P, D] of videos, [K, D] and [K, P, D] of classes."""

    appearance: Tensor
    motion: Tensor


class Moted(Method):
    """Align appearance features with names and motion features with descriptions."""

    paper = "MoTED (Zhang et al., CVPR 2024), reconstructed from its abstract"
    mechanism = "appearance against names, motion per phase against descriptions"
    equals_before_training = "mean_pool on the names plus ordered_descriptions"
    needs_descriptions: ClassVar[bool] = True
    tasks: ClassVar[tuple[Task, ...]] = ("classes",)
    search_space: ClassVar[SearchSpace] = {
        **LEARNING_NEW,
        **{f"options.{weight}": {"factor": 4} for weight in ("align", "hard", "motion")},
    }

    class Config(Options):
        """Options of the parts, the losses and the score. Each part can be switched off."""

        visual: str | None = Field(
            "stan", description="method whose video feature is added to the motion features; null: none"
        )
        visual_options: dict[str, Any] = Field(default_factory=dict, description="options of that method")
        reader: bool = Field(
            True, description="learned queries that read the descriptions' words; off: their means alone"
        )
        phases: tuple[Literal["whole", "start", "end"], ...] = Field(
            ("start", "end"),
            min_length=1,
            description="parts of clip and descriptions that have a motion feature each; whole alone: all descriptions",
        )
        weights: Literal["uniform", "learned"] = Field(
            "uniform",
            description="of a class's descriptions of one phase; learned: softmax of a linear score that starts at zero",
        )
        queries: int = Field(4, ge=1, description="learned queries of the reader per phase")
        heads: int = Field(8, ge=1, description="attention heads of the reader")
        align: float = Field(1.0, ge=0, description="weight of the motion alignment loss over all classes")
        hard: float = Field(1.0, ge=0, description="weight of the same among a class and its rivals")
        motion: float = Field(1.0, ge=0, description="weight of the motion score beside the appearance score")

    config: Config

    @classmethod
    def check(cls, config: Any) -> None:
        """Raise ValueError if a phase is repeated, or if the temporal method is unknown, lacks an option of
        `visual_options`, or gives no video feature.
        """
        repeated = [phase for phase in config.phases if config.phases.count(phase) > 1]
        if repeated:
            raise ValueError(f"phases: {repeated[0]} is listed twice")
        if config.visual:
            method, options = configure_method(config.visual, config.visual_options)
            if not method.gives_video_feature(options):
                raise ValueError(f"visual_options: head: {options.head} gives no video feature; moted needs head: mean")

    @classmethod
    def check_depth(cls, config: Any, depth: int, backbone: str) -> None:
        if config.visual:
            method, options = configure_method(config.visual, config.visual_options)
            method.check_depth(options, depth, backbone)

    def __init__(self, backbone: Backbone, config: Config) -> None:
        super().__init__(backbone, config)
        self.phases = config.phases
        width = backbone.embed_dim
        self.visual = build_method(backbone, config.visual, config.visual_options) if config.visual else None
        self.visual_out = zero_linear(width, len(self.phases) * width) if config.visual else None
        self.patches = self.visual is not None and self.visual.patches
        self.inside = self.visual is not None and self.visual.inside
        self.reader = Reader(width, len(self.phases), config.queries, config.heads) if config.reader else None
        self.scorer_D = nn.Parameter(torch.zeros(width)) if config.weights == "learned" else None

    @property
    def levels(self) -> tuple[int, ...]:
        """The layers of the image encoder that the temporal method reads."""
        return self.visual.levels if self.visual else super().levels

    def layer(self, number: int, layer: Layer, x_BTNV: Tensor) -> Tensor:
        """Return the output [B, T, N, V] of layer `number` as the temporal method computes it."""
        return self.visual.layer(number, layer, x_BTNV) if self.visual else super().layer(number, layer, x_BTNV)

    def encode_tokens(self, tokens: Tokens) -> AppearanceMotion:
        """Return the appearance features [B, D] and the motion features [B, P, D]."""
        frames_BTD = self.frame_features(tokens)
        appearance_BD = frames_BTD.mean(1)
        parts = dict(zip(("whole", "start", "end"), (appearance_BD, *end_frames(frames_BTD)), strict=True))
        motion_BPD = torch.stack([parts[phase] for phase in self.phases], 1)
        if self.visual is not None and self.visual_out is not None:
            temporal = self.visual_out(self.visual.encode_tokens(tokens))
            motion_BPD = motion_BPD + temporal.unflatten(-1, motion_BPD.shape[1:])
        return AppearanceMotion(appearance_BD, motion_BPD)

    def pool_texts(self, words: WordFeatures, table: TextTable) -> AppearanceMotion:
        """Return the features of the class names [K, D] and of the descriptions of each phase [K, P, D].

        Raises ValueError for a class without a description.
        """
        motion_S, rows = table.motion_S, table.described
        require_descriptions(table, "moted")
        motion_KPD = torch.stack([self._described(words, table, phase) for phase in self.phases], 1)
        if self.reader is not None:
            columns = (words.word_SLD, table.position_S, table.tokens.mask_KL, table.owner_S)
            described = (column[rows] for column in columns)
            motion_KPD = motion_KPD + self.reader(*described, len(table.labels), table.max_descriptions)
        return AppearanceMotion(class_means(words.sentence_SD, table, ~motion_S), motion_KPD)

    def _described(self, words: WordFeatures, table: TextTable, phase: str) -> Tensor:
        """Return the (weighted) mean [K, D] of the descriptions of a phase, or of all if `whole` is the only phase."""
        weight_S = None
        if self.scorer_D is not None:
            weight_S = (F.normalize(words.sentence_SD, dim=-1) @ self.scorer_D).exp()
        if len(self.phases) == 1 and phase == "whole":
            return class_means(words.sentence_SD, table, table.motion_S, weight_S)
        return part_means(words, table, NAMED[phase], weight_S)

    def _cosines(self, video: AppearanceMotion, text: AppearanceMotion) -> tuple[Tensor, Tensor]:
        """Return (appearance cosines [B, K], motion cosines averaged over phases [B, K])."""
        video_BPD, text_KPD = F.normalize(video.motion, dim=-1), F.normalize(text.motion, dim=-1)
        motion_BK = torch.einsum("bpd,kpd->bk", video_BPD, text_KPD) / len(self.phases)
        return cosine_scores(video.appearance, text.appearance), motion_BK

    def score(self, video: AppearanceMotion, text: AppearanceMotion) -> Tensor:
        """Return the logits [B, K] of all pairs."""
        appearance_BK, motion_BK = self._cosines(video, text)
        return self.backbone.logits(appearance_BK + self.config.motion * motion_BK)

    def losses(self, batch: LossInputs) -> dict[str, Tensor]:
        """Return the weighted cross-entropies `appearance`, `motion` and `rivals`.

        `motion` compares motion features over all classes, `rivals` among a class and its rivals. Terms of weight zero
        are left out.
        """
        assert batch.rivals_KK is not None
        target_B, smoothing = batch.target_B, batch.label_smoothing
        cosines = self._cosines(batch.video, batch.text)
        appearance_BK, motion_BK = (batch.adjusted(self.backbone.logits(cosines_BK)) for cosines_BK in cosines)
        terms = {"appearance": F.cross_entropy(appearance_BK, target_B, label_smoothing=smoothing)}
        if self.config.align:
            aligned = F.cross_entropy(motion_BK, target_B, label_smoothing=smoothing)
            terms["motion"] = self.config.align * aligned
        if self.config.hard:
            among_BK = motion_BK.masked_fill(~batch.rivals_KK[target_B], -torch.inf)
            terms["rivals"] = self.config.hard * F.cross_entropy(among_BK, target_B)
        return terms
