"""Description ensemble (Menon and Vondrick, "Visual Classification via Description from Large Language Models", ICLR
2023), on video: the score of a class is the mean cosine of the class's descriptions with the mean frame feature. By
default class names are not used.

Nothing trains and no parameter is added. Frame order has no effect; the variant ordered_descriptions uses it. With one
description per class the method equals zero_shot on that description (tests/methods/test_description_ensemble.py). On a
backbone without a class token the frame features are its pooled image features, and both statements hold.

Options: `mean: trimmed` leaves out the highest and lowest cosines of each clip and class, to limit the effect of a bad
sentence; `mean: soft` weights the cosines by their softmax, so that a clip need not match every sentence. `name_weight`
adds the cosine of the names, as in DisCLIP (arXiv:2412.11917), whose name-free score is `name_weight: 0`.

B clips, K classes, J maximum descriptions per class, D joint width.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from kinetext.backbones.attention import cosine_scores
from kinetext.backbones.base import Backbone
from kinetext.backbones.text_steps import StepIndexer, step_features
from kinetext.backbones.text_table import TextTable, WordFeatures, class_means, require_descriptions
from kinetext.core.plugins import Options
from kinetext.methods.base import ALL_TASKS, IGNORES_ORDER, Method


class Described(NamedTuple):
    """The normalised descriptions of each class [K, J, D], their number [K], and the features of the names [K, D]."""

    sentence_KJD: Tensor
    count_K: Tensor
    name_KD: Tensor


class DescriptionEnsemble(Method):
    """Score a class by the mean cosine of the mean frame feature with the descriptions of the class."""

    paper = "Menon and Vondrick, ICLR 2023"
    mechanism = "Averages the cosines of a class's descriptions with the mean frame feature."
    equals_before_training = "nothing trains; with one description per class, it is zero-shot CLIP on that description"
    cannot_see = IGNORES_ORDER
    trains: ClassVar[bool] = False
    needs_descriptions: ClassVar[bool] = True
    sees_order = False
    tasks = ALL_TASKS

    class Config(Options):
        """Options of the mean over descriptions."""

        mean: Literal["plain", "trimmed", "soft"] = Field("plain", description="mean of the cosines of a class")
        trim: float = Field(
            0.25, gt=0, lt=0.5, description="trimmed: share of the cosines left out at each end, rounded down"
        )
        temperature: float = Field(0.05, gt=0, description="soft: of the softmax over the cosines of a class")
        name_weight: float = Field(0.0, ge=0, description="weight of the cosine of the names; 0: a name-free score")

    config: Config

    def __init__(self, backbone: Backbone, config: Config) -> None:
        super().__init__(backbone, config)
        self.index = StepIndexer("sentences")

    def pool_texts(self, words: WordFeatures, table: TextTable) -> Any:
        """Return the mean [K, D] of the normalised descriptions of each class, or all of them if the score needs them.

        Raises ValueError for a class without a description.
        """
        require_descriptions(table, "description_ensemble")
        if self.config.mean == "plain" and not self.config.name_weight:
            return class_means(words.sentence_SD, table, table.motion_S)
        return described(words, table, self.index)

    def score(self, video: Tensor, text: Any) -> Tensor:
        """Return the logits [B, K].

        The mean of the descriptions is not renormalised, so its product with a normalised video feature is the mean
        cosine.
        """
        unit_BD, config = F.normalize(video, dim=-1), self.config
        if not isinstance(text, Described):
            return self.backbone.logits(unit_BD @ text.T)
        cosine_BKJ = torch.einsum("bd,kjd->bkj", unit_BD, text.sentence_KJD)
        if config.mean == "trimmed":
            score_BK = trimmed_mean(cosine_BKJ, text.count_K, config.trim)
        else:
            has_KJ = torch.arange(cosine_BKJ.shape[-1], device=cosine_BKJ.device) < text.count_K[:, None]
            warmth = cosine_BKJ / config.temperature if config.mean == "soft" else torch.zeros_like(cosine_BKJ)
            weight_BKJ = warmth.masked_fill(~has_KJ, -torch.inf).softmax(-1)
            score_BK = (weight_BKJ * cosine_BKJ).sum(-1)
        return self.backbone.logits(config.name_weight * cosine_scores(video, text.name_KD) + score_BK)


def described(words: WordFeatures, table: TextTable, index: StepIndexer) -> Described:
    """Return all descriptions of each class. `index` has the mode `sentences`."""
    rows = index(table)
    sentence_KJD = step_features(F.normalize(words.sentence_SD, dim=-1), rows)
    return Described(sentence_KJD, rows.count_G, class_means(words.sentence_SD, table, ~table.motion_S))


def trimmed_mean(cosine_BKJ: Tensor, count_K: Tensor, trim: float) -> Tensor:
    """Return the mean [B, K] of the cosines of each class without the fraction `trim` at each end, rounded down."""
    rank_J = torch.arange(cosine_BKJ.shape[-1], device=cosine_BKJ.device)
    missing_KJ = rank_J >= count_K[:, None]
    sorted_BKJ = cosine_BKJ.masked_fill(missing_KJ, torch.inf).sort(-1).values
    cut_K = (count_K * trim).long()
    kept_KJ = (rank_J >= cut_K[:, None]) & (rank_J < (count_K - cut_K)[:, None])
    return sorted_BKJ.masked_fill(~kept_KJ, 0.0).sum(-1) / kept_KJ.sum(-1)
