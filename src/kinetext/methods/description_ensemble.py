"""Description ensemble: "Visual Classification via Description from Large Language Models" (Menon and Vondrick, ICLR 2023),
on video. A class's score is the mean of the cosines of its descriptions with the video feature, which is the mean of the
frame features; names have no part in it.

Nothing trains, nothing is added. The order of frames cannot matter, so what start and end sentences say of order is lost:
what ordered_descriptions has beyond this is order. With one description a class it equals zero_shot on that description
(tests/contracts/test_methods.py).

B clips, K classes, D joint width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

from kinetext.backbones.text_table import TextTable, WordFeatures, class_means, need_descriptions
from kinetext.core.plugins import Options
from kinetext.methods import Method

if TYPE_CHECKING:
    from kinetext.backbones.open_clip_vit import Backbone

TRAINS = False  # there is nothing to train
NEEDS_DESCRIPTIONS = True  # class names alone do not do


class Config(Options):
    """No options."""


class DescriptionEnsemble(Method):
    """Mean pooling over frames, mean cosine over descriptions."""

    def pool_texts(self, words: WordFeatures, table: TextTable) -> Tensor:
        """The mean of the normalised descriptions, [K, D]. Raises ValueError for a class without one."""
        need_descriptions(table, "description_ensemble")
        return class_means(words.sentence_SD, table, table.motion_S)

    def score(self, video: Tensor, text: Tensor) -> Tensor:
        """Logits [B, K]; `text` is not normalised again, which makes its product the mean of the cosines."""
        return self.backbone.logit_scale * (F.normalize(video, dim=-1) @ text.T)


def build(backbone: Backbone, config: Config) -> Method:
    """The method on this backbone."""
    return DescriptionEnsemble(backbone, config)
