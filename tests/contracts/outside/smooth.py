"""A loss term from outside: frame features of neighbouring frames are pulled together (slowness)."""

import torch.nn.functional as F
from pydantic import Field
from torch import nn

from kinetext.core.plugins import Options
from kinetext.training.loss_terms.base import LossTerm


class Smooth(LossTerm):
    """Mean of 1 - cosine of neighbouring frames, after a projection of its own."""

    class Config(Options):
        """Size of the projection."""

        width: int = Field(16, ge=1, description="width of the projection")

    tasks = ("classes", "captions")

    def __init__(self, method, config):
        super().__init__(method, config)
        self.projection = nn.Linear(method.backbone.embed_dim, config.width, bias=False)

    def loss(self, inputs):
        """Return the term."""
        (method,) = self.method
        frames_BTP = self.projection(method.frame_features(inputs.tokens))
        return 1 - F.cosine_similarity(frames_BTP[:, 1:], frames_BTP[:, :-1], dim=-1).mean()
