"""Selected descriptions, after DisCLIP (arXiv:2412.11917): use the descriptions that separate the candidates.

Fitting measures the mean cosine of every description with the training clips of every class. For a clip, the `top`
classes are the candidates. A candidate's description is kept if it fits the candidate's training clips at least as well
as those of every other candidate; the `count` with the largest mean margin are used. If none is kept, the best one is
used. The score of a candidate is `name_weight` x the cosine of the names plus the mean cosine of the selected
descriptions; other classes are scored with all descriptions and rank below the candidates.

The backbone does not train and no parameter is added. The fitted cosines [K, J, K] need training clips of every class;
only training clips are read. With `name_weight: 0` class names are not used (DisCLIP's name-free score). Frame order
has no effect. On a backbone without a class token the frame features are its pooled image features. Reimplemented from
the description of the method; DisCLIP works on images.

B, N clips, T frames, K classes, J maximum descriptions per class, C candidates, D joint width.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from kinetext.backbones.attention import cosine_scores
from kinetext.backbones.base import Backbone
from kinetext.backbones.text_steps import StepIndexer
from kinetext.backbones.text_table import TextTable, WordFeatures, require_descriptions
from kinetext.core.plugins import Options
from kinetext.methods.base import IGNORES_ORDER, Method, SearchSpace, Task
from kinetext.methods.description_ensemble import Described, described
from kinetext.methods.fitting import require_every_class

REFUSED = -4.0  # added to a rejected mean margin, which is between -2 and 2


class SelectedDescriptions(Method):
    """Score a class by the descriptions that separate it from the other candidates on training clips."""

    paper = "after DisCLIP (arXiv:2412.11917)"
    mechanism = (
        "Averages the cosines of those descriptions that, on training clips, separate the most likely classes of a "
        "clip."
    )
    equals_before_training = "nothing: it has no scores before it is fitted"
    what_trains = "nothing; cosines of the descriptions with the training clips are stored"
    cannot_see = IGNORES_ORDER
    fitted_parameters = "K^2 J for J descriptions per class"
    fits: ClassVar[bool] = True
    needs_descriptions: ClassVar[bool] = True
    needs_training_clips: ClassVar[bool] = True
    sees_order = False
    tasks: ClassVar[tuple[Task, ...]] = ("classes",)
    search_space: ClassVar[SearchSpace] = {"options.name_weight": {"factor": 4}}

    class Config(Options):
        """Options of the selection and of the score."""

        top: int = Field(
            3,
            ge=2,
            description="candidates per clip: the classes whose names fit best; of all descriptions with name_weight: 0",
        )
        count: int = Field(5, ge=1, description="descriptions per candidate")
        name_weight: float = Field(1.0, ge=0, description="weight of the cosine of the names; 0: a name-free score")

    config: Config

    def __init__(self, backbone: Backbone, config: Config) -> None:
        super().__init__(backbone, config)
        self.index = StepIndexer("sentences")

    def pool_texts(self, words: WordFeatures, table: TextTable) -> Described:
        """Return the descriptions and names of all classes. Raises ValueError for a class without a description."""
        require_descriptions(table, "selected_descriptions")
        return described(words, table, self.index)

    def fit(
        self, frames_NTD: Tensor, target_N: Tensor, text: Described, val: tuple[Tensor, Tensor] | None = None
    ) -> None:
        """Measure the mean cosine of each description with the training clips of each class.

        Raises ValueError if a class has no training clip.
        """
        classes = len(text.name_KD)
        require_every_class("selected_descriptions", target_N, classes)
        clips_K = torch.bincount(target_N, minlength=classes)
        unit_ND = F.normalize(self.encode_frames(frames_NTD), dim=-1)
        sum_KD = unit_ND.new_zeros(classes, unit_ND.shape[-1]).index_add(0, target_N, unit_ND)
        mean_KD = sum_KD / clips_K[:, None]
        cosine_KJK = torch.einsum("kjd,cd->kjc", text.sentence_KJD, mean_KD.to(text.sentence_KJD))
        self.fitted = {"cosine_KJK": cosine_KJK.cpu()}

    def score(self, video: Tensor, text: Described) -> Tensor:
        """Return the logits [B, K].

        Raises ValueError if the method is not fitted, or was fitted to other descriptions.
        """
        if not self.fitted:
            raise ValueError("selected_descriptions: is not fitted yet; run train_method first")
        fitted_KJK, config = self.fitted["cosine_KJK"].to(video), self.config
        K, J = text.sentence_KJD.shape[:2]
        if fitted_KJK.shape != (K, J, K):
            shape = tuple(fitted_KJK.shape[:2])
            raise ValueError(f"selected_descriptions: was fitted to {shape} classes and descriptions, not to {(K, J)}")
        cosine_BKJ = torch.einsum("bd,kjd->bkj", F.normalize(video, dim=-1), text.sentence_KJD)
        name_BK = config.name_weight * cosine_scores(video, text.name_KD)
        score_BK = name_BK + cosine_BKJ.sum(-1) / text.count_K
        candidates_BC = (name_BK if config.name_weight else score_BK).topk(min(config.top, K)).indices
        selected_BC = self._selected_means(cosine_BKJ, fitted_KJK, candidates_BC, text.count_K)
        lowest = 2 * (1 + config.name_weight)  # the range of a score
        best_BC = name_BK.gather(1, candidates_BC) + selected_BC
        return self.backbone.logits((score_BK - lowest).scatter(1, candidates_BC, best_BC))

    def _selected_means(self, cosine_BKJ: Tensor, fitted_KJK: Tensor, candidates_BC: Tensor, count_K: Tensor) -> Tensor:
        """Return the mean cosine [B, C] of the selected descriptions of each candidate."""
        B, C = candidates_BC.shape
        J = cosine_BKJ.shape[-1]
        of_candidate_BCJC = fitted_KJK[candidates_BC].gather(3, candidates_BC[:, None, None].expand(B, C, J, C))
        itself_BCJ = of_candidate_BCJC.diagonal(dim1=1, dim2=3).transpose(1, 2)
        margin_BCJC = itself_BCJ[..., None] - of_candidate_BCJC  # zero against itself
        kept_BCJ = (margin_BCJC >= 0).all(-1)
        worth_BCJ = margin_BCJC.sum(-1) / max(1, C - 1) + torch.where(kept_BCJ, 0.0, REFUSED)
        missing_BCJ = torch.arange(J, device=count_K.device) >= count_K[candidates_BC][..., None]
        worth_BCJ = worth_BCJ.masked_fill(missing_BCJ, -torch.inf)
        best = worth_BCJ.topk(min(self.config.count, J))
        used = (best.values >= REFUSED / 2) | (torch.arange(best.values.shape[-1], device=count_K.device) == 0)
        cosine_BCJ = cosine_BKJ.gather(1, candidates_BC[..., None].expand(B, C, J)).gather(2, best.indices)
        return (cosine_BCJ * used).sum(-1) / used.sum(-1)
