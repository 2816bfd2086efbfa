"""LoRA for the projections of queries, keys and values: CLIP-LoRA (Zanella and Ben Ayed, CVPRW 2024).

A separate product of two matrices, scaled by alpha / sqrt(rank), is added to each projection: to each third of a
stacked weight [3 V, V], or to a separate weight [V, V]. The second matrix starts at zero, so the model is unchanged
before training. Rank 2 in every layer of both encoders of ViT-B/16 adds 184 320 parameters.

The products are added to the weight itself, so that a layer computes as many projections as without LoRA. In training
their inputs may have dropout (independent for queries, keys and values); then the products are computed separately,
because their input differs from the weight's.

V width, R rank, 3 stacked projections (1 if the weight is not stacked), S sequences, N tokens.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

WEIGHT = "in_proj_weight"


Target = tuple[nn.Module, str, int]  # module, name of its weight, number of projections that the weight stacks


class LowRank(nn.Module):
    """A parametrization of a weight that adds a low-rank product for each stacked projection."""

    def __init__(self, weight: Tensor, rank: int, alpha: float, stacked: int = 3, dropout: float = 0.0) -> None:
        super().__init__()
        rows, V = weight.shape
        self.dropout = dropout
        self.scale = alpha / math.sqrt(rank)
        self.down_3RV = nn.Parameter(weight.new_empty(stacked, rank, V))
        self.up_3VR = nn.Parameter(weight.new_zeros(stacked, rows // stacked, rank))
        for down_RV in self.down_3RV:
            nn.init.kaiming_uniform_(down_RV, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight [3 V, V] with the products added."""
        return weight + self.scale * (self.up_3VR @ self.down_3RV).flatten(0, 1)

    def product(self, number: int, x_SNV: Tensor) -> Tensor:
        """Return the product [S, N, V] of one projection for its input tokens, with dropout."""
        x_SNV = F.dropout(x_SNV, self.dropout)
        return self.scale * F.linear(F.linear(x_SNV, self.down_3RV[number]), self.up_3VR[number])


def add(targets: Iterable[Target], rank: int, alpha: float, dropout: float = 0.0) -> None:
    """Add LoRA to weights."""
    for module, name, stacked in targets:
        low_rank = LowRank(getattr(module, name), rank, alpha, stacked, dropout)
        parametrize.register_parametrization(module, name, low_rank)


def is_added(module: nn.Module) -> bool:
    """Return whether a weight in `module` has LoRA."""
    return any(isinstance(part, LowRank) for part in module.modules())


def weight(module: Any, name: str) -> Tensor:
    """Return a weight with its low-rank products, or without them while dropout is active (see `add_product`)."""
    if _with_dropout(module, name) is None:
        return getattr(module, name)
    return module.parametrizations[name].original


def add_product(module: Any, name: str, number: int, output: Tensor, x_SNV: Tensor) -> Tensor:
    """Return the output [S, N, V] of projection `number` of a weight, with the product that `weight` left out."""
    low_rank = _with_dropout(module, name)
    return output if low_rank is None else output + low_rank.product(number, x_SNV)


def _with_dropout(module: Any, name: str) -> LowRank | None:
    """Return the low-rank matrices of a weight while dropout is active."""
    if not module.training or not parametrize.is_parametrized(module, name):
        return None
    low_rank = module.parametrizations[name][0]
    return low_rank if isinstance(low_rank, LowRank) and low_rank.dropout else None


def merge(module: nn.Module) -> None:
    """Merge the low-rank products into all weights in `module` that have them. The weights count as trained."""
    for part in list(module.modules()):
        if not parametrize.is_parametrized(part):
            continue
        for name, added in list(part.parametrizations.items()):  # type: ignore[union-attr, operator]
            if isinstance(added[0], LowRank):
                parametrize.remove_parametrizations(part, name, leave_parametrized=True)
                merged = getattr(part, name)
                assert isinstance(merged, torch.nn.Parameter)
                merged.requires_grad_(True)
