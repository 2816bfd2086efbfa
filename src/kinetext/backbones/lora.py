"""LoRA for the projections of queries, keys and values: CLIP-LoRA (Zanella and Ben Ayed, CVPRW 2024).

A separate product of two matrices, scaled by alpha / sqrt(rank), is added to each projection: to each third of a stacked
weight [3 V, V], or to a weight [V, V] of its own. The second matrix starts at zero, so the model is unchanged before
training. Rank 2 in every layer of both encoders of ViT-B/16 adds 184 320 parameters.

V width, R rank, 3 stacked projections (1 if the weight is not stacked).
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

WEIGHT = "in_proj_weight"


Target = tuple[nn.Module, str, int]  # module, name of its weight, number of projections that the weight stacks


class LowRank(nn.Module):
    """A parametrization of a weight that adds a low-rank product for each projection that the weight stacks."""

    def __init__(self, weight: Tensor, rank: int, alpha: float, stacked: int = 3) -> None:
        super().__init__()
        rows, V = weight.shape
        self.scale = alpha / math.sqrt(rank)
        self.down_3RV = nn.Parameter(weight.new_empty(stacked, rank, V))
        self.up_3VR = nn.Parameter(weight.new_zeros(stacked, rows // stacked, rank))
        for down_RV in self.down_3RV:
            nn.init.kaiming_uniform_(down_RV, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight [3 V, V] with the products added."""
        return weight + self.scale * (self.up_3VR @ self.down_3RV).flatten(0, 1)


def add(targets: Iterable[Target], rank: int, alpha: float) -> None:
    """Add LoRA to weights."""
    for module, name, stacked in targets:
        parametrize.register_parametrization(module, name, LowRank(getattr(module, name), rank, alpha, stacked))


def merge(module: nn.Module) -> None:
    """Add the low-rank products to all weights in `module` that have some. The weights count as trained."""
    for part in list(module.modules()):
        if not parametrize.is_parametrized(part):
            continue
        for name, added in list(part.parametrizations.items()):  # type: ignore[union-attr, operator]
            if isinstance(added[0], LowRank):
                parametrize.remove_parametrizations(part, name, leave_parametrized=True)
                weight = getattr(part, name)
                assert isinstance(weight, torch.nn.Parameter)
                weight.requires_grad_(True)
