"""Distillation from the frozen CLIP through a residual projector: FROSTER (Huang et al., ICLR 2024).

Frame features and sentence features of the trained model go through z + ratio P(z), where P is a two-layer MLP whose
second matrix starts at zero. The loss pulls the results towards the features of the initial weights: (1 - cosine of
images) + (1 - cosine of texts). The projectors are dropped after training. They add 2 x 2 D^2 parameters, 1.049 M at
D = 512. Before training the text term is 0, and so is the image term if the method does not change the frame features.

B clips, T frames, S sentences, D joint width.
"""

from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

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
    """Penalise 1 - cosine between projected frame and sentence features and the features of the initial backbone."""

    class Config(Options):
        """Option of the projector."""

        ratio: float = Field(0.1, ge=0, description="share of the projector's output that is added")

    def __init__(self, method: Method, config: Any) -> None:
        super().__init__(method, config)
        self.teacher = deepcopy(method.backbone).requires_grad_(False).eval()
        self.image = ResidualProjector(method.backbone.embed_dim, config.ratio)
        self.text = ResidualProjector(method.backbone.embed_dim, config.ratio)
        self._teacher_sentences: Tensor | None = None

    def loss(self, inputs: TermInputs) -> Tensor:
        (method,) = self.method
        student_BTD = method.frame_features(inputs.tokens)
        with torch.no_grad():
            if inputs.frames_BTCHW is None:  # cached: the image encoder's layers are frozen
                teacher_BTD = self.teacher.project(method.summaries(inputs.tokens))
            else:
                teacher_BTD = self.teacher.encode_frames(inputs.frames_BTCHW)
        image_loss = 1 - F.cosine_similarity(self.image(student_BTD), teacher_BTD, dim=-1).mean()
        return image_loss + self._text_loss(method, inputs)

    def _text_loss(self, method: Method, inputs: TermInputs) -> Tensor:
        if self._teacher_sentences is None:
            from kinetext.backbones.text_table import encode_table

            with torch.no_grad():
                self._teacher_sentences = encode_table(self.teacher, inputs.table).sentence_SD
        student_SD = method.encode_words(inputs.table).sentence_SD
        return 1 - F.cosine_similarity(self.text(student_SD), self._teacher_sentences, dim=-1).mean()
