"""Distillation from the frozen CLIP through a residual projector: FROSTER (Huang et al., ICLR 2024).

Normalised frame features and normalised class texts of the trained model go through z + ratio P(z), where P is a
two-layer MLP without biases whose second matrix starts at zero. A class text is the mean of the normalised features of
its sentences (the original: of two templates). The loss pulls the results towards the features of the initial weights:
(1 - cosine of images) + (1 - cosine of texts). The projectors are dropped after training. They add 2 x 2 D^2
parameters, 1.049 M at D = 512. Before training the text term is 0, and so is the image term if the method does not
change the frame features. The released scripts use weight 2 (Visual-AI/FROSTER @ 230ae88).

B clips, T frames, S sentences, K classes, D joint width.
"""

from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from kinetext.backbones.text_table import class_means, encode_table
from kinetext.core.plugins import Options
from kinetext.methods.base import Method
from kinetext.training.loss_terms.base import LossTerm, TermInputs


class ResidualProjector(nn.Module):
    """Return z + ratio P(z), where P is zero before training."""

    def __init__(self, width: int, ratio: float) -> None:
        super().__init__()
        self.ratio = ratio
        self.first = nn.Linear(width, width, bias=False)
        self.second = nn.Linear(width, width, bias=False)
        nn.init.kaiming_normal_(self.first.weight)
        nn.init.zeros_(self.second.weight)

    def forward(self, z: Tensor) -> Tensor:
        return z + self.ratio * self.second(F.gelu(self.first(z)))


class DistillClip(LossTerm):
    """Penalise 1 - cosine between projected frame features and class texts and those of the initial backbone."""

    class Config(Options):
        """Option of the projector."""

        ratio: float = Field(0.1, ge=0, description="share of the projector's output that is added")

    def __init__(self, method: Method, config: Any) -> None:
        super().__init__(method, config)
        self.teacher = deepcopy(method.backbone).requires_grad_(False).eval()
        self.image = ResidualProjector(method.backbone.embed_dim, config.ratio)
        self.text = ResidualProjector(method.backbone.embed_dim, config.ratio)
        self._teacher_texts: Tensor | None = None

    def loss(self, inputs: TermInputs) -> Tensor:
        (method,) = self.method
        student_BTD = method.frame_features(inputs.tokens)
        with torch.no_grad():
            if inputs.frames_BTCHW is None:  # cached: the image encoder's layers are frozen
                teacher_BTD = self.teacher.project(method.summaries(inputs.tokens))
            else:
                teacher_BTD = self.teacher.encode_frames(inputs.frames_BTCHW)
        return distance(self.image, student_BTD, teacher_BTD) + self._text_loss(method, inputs)

    def _text_loss(self, method: Method, inputs: TermInputs) -> Tensor:
        table = inputs.table
        every_S = torch.ones_like(table.motion_S)
        if self._teacher_texts is None:
            with torch.no_grad():
                self._teacher_texts = class_means(encode_table(self.teacher, table).sentence_SD, table, every_S)
        student_KD = class_means(method.encode_words(table).sentence_SD, table, every_S)
        return distance(self.text, student_KD, self._teacher_texts)


def distance(projector: nn.Module, student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean of 1 - cosine between projected, normalised features [..., D] and those of the teacher."""
    projected = projector(F.normalize(student, dim=-1))
    return 1 - F.cosine_similarity(projected, teacher, dim=-1).mean()
