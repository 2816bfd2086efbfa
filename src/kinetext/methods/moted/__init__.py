"""MoTED, reconstructed from the abstract of "Enhanced Motion-Text Alignment for Image-to-Video Transfer Learning"
(Zhang et al., CVPR 2024); the paper was not available. The abstract mentions GPT-4's descriptions of how confusable
classes differ in motion, perception modules in both encoders, and a contrastive loss between visual and textual motion
features. Everything else, including all default values, is a reconstruction.

- Image side: appearance is the mean of CLIP's frame features. Motion is one token per frame: CLIP's frame feature, plus
  the frame's feature in a temporal method (`visual`: stan, seq_transformer, ...) through a zero-initialised linear
  layer.
- Text side: appearance is the mean of the class-name features. Motion is one feature per step of the class: the mean of
  the descriptions at that position, plus the output of a perception module (`reader.py`) that reads the words of all
  descriptions with their positions, and the other steps. Its output is zero before training.
- Motion score: the soft monotone alignment of frames and steps (methods/alignment.py). Two classes with descriptions
  against each other are also compared directly, weighted by probability (`pairs.py`).
- Score: appearance + weight x motion. The weight is positive and learned; it starts at `motion`.
- Loss (`Moted.losses`): the cross-entropy of this score, so that the score in use is the score that is trained, plus
  `align` x the cross-entropy of the motion score over all classes, plus `hard` x the same among a class and its rivals,
  plus `reversed` x that of a class's steps against the same steps in reverse order (off by default).

CLIP, the temporal method and the perception module train. Before training the motion score equals the score of
ordered_descriptions with `steps: steps` and the same `temperature` and `order`; with `phases: [start, end]`, that with
`steps: ends`. With align = hard = motion = 0 the method equals mean_pool on the names (tests/methods/test_moted.py).
moted itself reads frame features, so on a backbone without a class token it uses the pooled image features, and the
same holds before training; only the temporal method (`visual`) may read summaries (see its docstring).

Ablations: `reader: false` (no text module), `visual: null` (no visual module), `align: 0`, `hard: 0` (no hard pairs),
`pairs: false` (no pairwise comparison), `phases: [start, end]` (ends only: the first and the last third of the frames
against start and end), `ordered: false` (the mean cosine of frames and steps in any order), `fused: false` (the
cross-entropy of the appearance score alone instead of that of the sum; the weight stays at `motion`).

B clips, T frames, K classes, G groups of steps (classes, then pairs), M steps, S sentences, L words, P phases, D joint
width.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinetext.backbones.attention import cosine_scores
from kinetext.backbones.base import Backbone, Layer
from kinetext.backbones.text_steps import StepIndexer, random_sentences, reversed_steps, step_features
from kinetext.backbones.text_table import TextTable, WordFeatures, class_means, require_descriptions
from kinetext.methods.alignment import alignment_score, unordered_score
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
from kinetext.methods.moted.options import MotedOptions
from kinetext.methods.moted.pairs import compare_pairs
from kinetext.methods.moted.reader import Reader
from kinetext.methods.ordered_descriptions import end_frames, part_means
from kinetext.texts.positions import NAMED


class VideoFeatures(NamedTuple):
    """Appearance [B, D] and motion tokens, one per frame [B, T, D] or per phase [B, P, D]."""

    appearance: Tensor
    motion: Tensor


class ClassFeatures(NamedTuple):
    """Appearance [K, D], the steps of all groups, and the class, rival and reverse of each pair."""

    appearance: Tensor
    step_GMD: Tensor
    position_GM: Tensor
    count_G: Tensor
    label_P: Tensor
    rival_P: Tensor
    reverse_P: Tensor


class Moted(Method):
    """Align appearance features with names and motion tokens with the steps of descriptions."""

    paper = "MoTED (Zhang et al., CVPR 2024), reconstructed from its abstract"
    mechanism = (
        "Compares the mean frame with the class names, and the frames, after a temporal module, with the steps of "
        "the descriptions in order."
    )
    equals_before_training = (
        "mean_pool's score of the names plus the score of ordered_descriptions with steps: steps (same temperature "
        "and order)"
    )
    cannot_see = (
        "With visual: stan (default), the comparison with names ignores frame order. The comparison with steps "
        "cannot distinguish classes with the same descriptions, and across frames it sees only what stan sees."
    )
    needs_descriptions: ClassVar[bool] = True
    tasks: ClassVar[tuple[Task, ...]] = ("classes",)
    search_space: ClassVar[SearchSpace] = {
        **LEARNING_NEW,
        **{f"options.{weight}": {"factor": 4} for weight in ("align", "hard", "motion")},
    }
    Config = MotedOptions
    config: MotedOptions

    @classmethod
    def check(cls, config: Any) -> None:
        """Raise ValueError if `visual` is unknown, lacks an option of `visual_options`, or has no motion features."""
        if config.visual:
            method, options = configure_method(config.visual, config.visual_options)
            if not method.gives_frame_motion(options):
                raise ValueError(
                    f"visual: {config.visual} has no motion feature per frame; take stan or seq_transformer"
                )

    @classmethod
    def check_depth(cls, config: Any, depth: int, backbone: str) -> None:
        if config.visual:
            method, options = configure_method(config.visual, config.visual_options)
            method.check_depth(options, depth, backbone)

    def __init__(self, backbone: Backbone, config: MotedOptions) -> None:
        super().__init__(backbone, config)
        self.phases = config.phases
        width = backbone.embed_dim
        self.visual = build_method(backbone, config.visual, config.visual_options) if config.visual else None
        self.visual_out = zero_linear(width, width) if config.visual else None
        self.patches = self.visual is not None and self.visual.patches
        self.inside = self.visual is not None and self.visual.inside
        self.inside_text = self.visual is not None and self.visual.inside_text
        self.index = StepIndexer("steps", pairs=config.pairs and not config.phases)
        self.reader = Reader(width, config.heads) if config.reader else None
        self.scorer_D = nn.Parameter(torch.zeros(width)) if config.weights == "learned" else None
        self.log_weight = nn.Parameter(torch.zeros(())) if config.fused and config.motion else None

    @property
    def levels(self) -> tuple[int, ...]:
        """The layers of the image encoder that the temporal method reads."""
        return self.visual.levels if self.visual else super().levels

    def layer(self, number: int, layer: Layer, x_BTNV: Tensor) -> Tensor:
        """Return the output [B, T, N, V] of layer `number` as the temporal method computes it."""
        return self.visual.layer(number, layer, x_BTNV) if self.visual else super().layer(number, layer, x_BTNV)

    def change_embedding(self, x_BTNV: Tensor) -> Tensor:
        """Return the tokens before the first layer as the temporal method changes them."""
        return self.visual.change_embedding(x_BTNV) if self.visual else x_BTNV

    def encode_words(self, table: TextTable) -> WordFeatures:
        """Return the features of every sentence and word, from the text encoder as the temporal method changes it."""
        return self.visual.encode_words(table) if self.visual else super().encode_words(table)

    def encode_tokens(self, tokens: Tokens) -> VideoFeatures:
        """Return the appearance features [B, D] and the motion tokens, [B, T, D] or [B, P, D]."""
        frames_BTD = self.frame_features(tokens)
        motion_BTD = frames_BTD
        if self.visual is not None and self.visual_out is not None:
            motion_BTD = motion_BTD + self.visual_out(self.visual.frame_motion(tokens))
        if self.phases:
            parts = dict(zip(NAMED, (motion_BTD.mean(1), *end_frames(motion_BTD)), strict=True))
            motion_BTD = torch.stack([parts[phase] for phase in self.phases], 1)
        return VideoFeatures(frames_BTD.mean(1), motion_BTD)

    def pool_texts(self, words: WordFeatures, table: TextTable) -> ClassFeatures:
        """Return the features of the class names and of the steps of classes and pairs.

        Raises ValueError for a class without a description.
        """
        require_descriptions(table, "moted")
        config = self.config
        index, unit_SD = self.index(table), F.normalize(words.sentence_SD, dim=-1)
        weight_S = None if self.scorer_D is None else (unit_SD @ self.scorer_D).exp()
        if self.phases:
            positions = [NAMED[phase] for phase in self.phases]
            at_P = torch.tensor([float("nan") if at is None else at for at in positions], device=unit_SD.device)
            count_G = torch.full_like(index.count_G, len(positions))
            index = index._replace(position_GM=at_P.expand(len(table.labels), -1), count_G=count_G)
            step_GMD = torch.stack([self._phase(words, table, at, weight_S) for at in positions], 1)
        else:
            weight_R = None if weight_S is None else weight_S[index.sentence_R]
            if config.random_description and self.training:
                weight_R = random_sentences(index) * (1.0 if weight_R is None else weight_R)
            step_GMD = step_features(unit_SD, index, weight_R)
        step_GMD = F.normalize(step_GMD, dim=-1)
        if self.reader is not None:
            mask_SL = table.tokens.mask_KL
            step_GMD = step_GMD + self.reader(step_GMD, words.word_SLD, mask_SL, table.position_S, index)
        appearance_KD = class_means(words.sentence_SD, table, ~table.motion_S)
        pairs = (index.label_P, index.rival_P, index.reverse_P)
        return ClassFeatures(appearance_KD, step_GMD, index.position_GM, index.count_G, *pairs)

    def _phase(self, words: WordFeatures, table: TextTable, position: float | None, weight_S: Tensor | None) -> Tensor:
        """Return the mean [K, D] of the descriptions of a phase, or of all if the whole is the only phase."""
        if self.phases == ("whole",):
            return class_means(words.sentence_SD, table, table.motion_S, weight_S)
        return part_means(words, table, position, weight_S)

    def motion_scores(self, video: VideoFeatures, text: ClassFeatures) -> Tensor:
        """Return the motion scores [B, K], in cosines, after the comparison of pairs."""
        config = self.config
        frame_BTD, step_GMD = F.normalize(video.motion, dim=-1), F.normalize(text.step_GMD, dim=-1)
        if self.phases:
            return torch.einsum("bpd,kpd->bk", frame_BTD, step_GMD) / len(self.phases)
        cosine_BGTM = torch.einsum("btd,gmd->bgtm", frame_BTD, step_GMD)
        if config.ordered:
            score_BG = alignment_score(cosine_BGTM, text.count_G, text.position_GM, config.temperature, config.order)
        else:
            score_BG = unordered_score(cosine_BGTM, text.count_G)
        score_BK, pair_BP = score_BG.split([len(text.appearance), len(text.label_P)], 1)
        share_BK = self.backbone.logits(score_BK).softmax(-1)
        return compare_pairs(score_BK, pair_BP, share_BK, text.label_P, text.rival_P, text.reverse_P)

    def _cosines(self, video: VideoFeatures, text: ClassFeatures) -> tuple[Tensor, Tensor, Tensor]:
        """Return the appearance scores, the motion scores, and their weighted sum, each [B, K], in cosines."""
        appearance_BK, motion_BK = cosine_scores(video.appearance, text.appearance), self.motion_scores(video, text)
        weight = self.config.motion if self.log_weight is None else self.config.motion * self.log_weight.exp()
        return appearance_BK, motion_BK, appearance_BK + weight * motion_BK

    def score(self, video: VideoFeatures, text: ClassFeatures) -> Tensor:
        """Return the logits [B, K] of all pairs."""
        return self.backbone.logits(self._cosines(video, text)[-1])

    def _order_loss(self, batch: LossInputs, motion_BK: Tensor) -> Tensor:
        """Return the cross-entropy of the steps of the true class against the same steps in reverse order."""
        step_GMD, position_GM = reversed_steps(batch.text.step_GMD, batch.text.position_GM, batch.text.count_G)
        turned_BK = self.motion_scores(batch.video, batch.text._replace(step_GMD=step_GMD, position_GM=position_GM))
        right_B1, turned_B1 = (score_BK.gather(1, batch.target_B[:, None]) for score_BK in (motion_BK, turned_BK))
        return F.softplus(self.backbone.logits(turned_B1) - self.backbone.logits(right_B1)).mean()

    def losses(self, batch: LossInputs) -> dict[str, Tensor]:
        """Return the weighted cross-entropies `fused` (or `appearance`), `motion`, `rivals` and `order`.

        `fused` is of the score, `motion` of the motion scores, `rivals` of those among a class and its rivals, `order`
        against reversed steps. Terms of weight zero are left out.
        """
        assert batch.rivals_KK is not None
        target_B, smoothing = batch.target_B, batch.label_smoothing
        cosines = self._cosines(batch.video, batch.text)
        appearance_BK, motion_BK, sum_BK = (batch.adjusted(self.backbone.logits(cosine_BK)) for cosine_BK in cosines)
        name, score_BK = ("fused", sum_BK) if self.config.fused else ("appearance", appearance_BK)
        terms = {name: F.cross_entropy(score_BK, target_B, label_smoothing=smoothing)}
        if self.config.align:
            aligned = F.cross_entropy(motion_BK, target_B, label_smoothing=smoothing)
            terms["motion"] = self.config.align * aligned
        if self.config.hard:
            among_BK = motion_BK.masked_fill(~batch.rivals_KK[target_B], -torch.inf)
            terms["rivals"] = self.config.hard * F.cross_entropy(among_BK, target_B)
        if self.config.reversed:
            terms["order"] = self.config.reversed * self._order_loss(batch, cosines[1])
        return terms
