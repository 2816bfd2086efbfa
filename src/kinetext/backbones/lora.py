"""LoRA for a stacked projection of queries, keys and values: CLIP-LoRA (Zanella and Ben Ayed, CVPRW 2024).

A separate product of two matrices, scaled by alpha / sqrt(rank), is added to each third of the weight [3 V, V]. The
second matrix starts at zero, so the model is unchanged before training. Rank 2 in every layer of both encoders of
ViT-B/16 adds 184 320 parameters.

V width, R rank.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

WEIGHT = "in_proj_weight"


class LowRank(nn.Module):
    """A parametrization of a stacked projection that adds a low-rank product for each of queries, keys and values."""

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        V = weight.shape[1]
        self.scale = alpha / math.sqrt(rank)
        self.down_3RV = nn.Parameter(weight.new_empty(3, rank, V))
        self.up_3VR = nn.Parameter(weight.new_zeros(3, V, rank))
        for down_RV in self.down_3RV:
            nn.init.kaiming_uniform_(down_RV, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight [3 V, V] with the products added."""
        return weight + self.scale * (self.up_3VR @ self.down_3RV).flatten(0, 1)


def add(attentions: Iterable[nn.Module], rank: int, alpha: float) -> None:
    """Add LoRA to attention modules that have a stacked projection (`in_proj_weight`)."""
    for attention in attentions:
        parametrize.register_parametrization(attention, WEIGHT, LowRank(getattr(attention, WEIGHT), rank, alpha))


def merge(module: nn.Module) -> None:
    """Add the low-rank products to the weights of all attention modules in `module`. The weights count as trained."""
    for attention in list(module.modules()):
        if parametrize.is_parametrized(attention, WEIGHT):
            parametrize.remove_parametrizations(attention, WEIGHT, leave_parametrized=True)
            weight = getattr(attention, WEIGHT)
            assert isinstance(weight, torch.nn.Parameter)
            weight.requires_grad_(True)
