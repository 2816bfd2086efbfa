"""Description ensemble (Menon and Vondrick, "Visual Classification via Description from Large Language Models", ICLR
2023), on video: the score of a class is the mean cosine of the class's descriptions with the mean frame feature. Class
names are not used.

Nothing trains and no parameter is added. The order of frames has no effect; ordered_descriptions is the variant that
uses it. With one description per class the method equals zero_shot on that description
(tests/methods/test_description_ensemble.py).

B clips, K classes, D joint width.
"""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from kinetext.backbones.text_table import TextTable, WordFeatures, class_means, require_descriptions
from kinetext.methods.base import ALL_TASKS, Method


class DescriptionEnsemble(Method):
    """Score a class by the mean cosine of the mean frame feature with the descriptions of the class."""

    paper = "Menon and Vondrick, ICLR 2023"
    mechanism = "mean cosine of the mean frame feature with the descriptions of a class"
    equals_before_training = "nothing trains: with one description per class, zero-shot CLIP on it"
    trains: ClassVar[bool] = False
    needs_descriptions: ClassVar[bool] = True
    sees_order = False
    tasks = ALL_TASKS

    def pool_texts(self, words: WordFeatures, table: TextTable) -> Tensor:
        """Return the mean [K, D] of the normalised descriptions of each class.

        Raises ValueError for a class without a description.
        """
        require_descriptions(table, "description_ensemble")
        return class_means(words.sentence_SD, table, table.motion_S)

    def score(self, video: Tensor, text: Tensor) -> Tensor:
        """Return the logits [B, K].

        `text` is not normalised again, so that its product with a normalised video feature is the mean of the cosines.
        """
        return self.backbone.logits(F.normalize(video, dim=-1) @ text.T)
