"""The gradient of a batch that several processes share, by DistributedDataParallel, which adds gradients while the backward
pass is still running.

Each process computes the loss so that the mean over processes is the whole batch's. In pieces, the gradients of the passes before
the last one stay in the process, and the last one adds all of them over processes.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from kinetext.core import distributed
from kinetext.training.batches import Batch
from kinetext.training.objectives import Objective, total
from kinetext.training.step import Key, Loss, Losses, PiecewiseStep, seed_from


class DistributedStep:
    """The gradient of a batch among processes; `size` is how many clips go through one at once, None all that it has."""

    def __init__(self, objective: Objective, parameters: list[nn.Parameter], size: int | None = None) -> None:
        self.objective, self.parameters, self.size = objective, parameters, size
        self.unreached: set[int] | None = None  # ids of parameters that the first whole batch's loss does not depend on
        self.reduce = DistributedDataParallel(_Reduced(parameters), gradient_as_bucket_view=True)
        self.piecewise = PiecewiseStep(objective, parameters, size or 1, self.reduce)

    def __call__(self, batch: Batch, key: Key) -> Losses:
        """Leave the gradient of the whole batch's loss at every parameter; return this process's losses, detached."""
        if self.size is not None and self.size < max(batch.sizes):
            return self.piecewise(batch, key)
        losses: Losses = {}

        def loss() -> Tensor:
            seed_from(*key, distributed.rank(), 0)
            losses.update(self.objective.losses(batch))
            if self.unreached is None:
                self.unreached = unreached(total(losses), self.parameters)
            return total(losses)

        self.reduce(loss).backward()
        return {name: term.detach() for name, term in losses.items()}


def unreached(loss: Tensor, parameters: list[nn.Parameter]) -> set[int]:
    """Return the ids of the parameters that a loss does not depend on; the reduction would give them zeros as gradients."""
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return {id(p) for p, gradient in zip(parameters, gradients, strict=True) if gradient is None}


class _Reduced(nn.Module):
    """What DistributedDataParallel wraps: the trained parameters, and any loss of them."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        super().__init__()
        self.trained = nn.ParameterList(parameters)

    def forward(self, loss: Loss) -> Tensor:
        return _ReachAll.apply(loss(), *self.trained)


class _ReachAll(torch.autograd.Function):
    """A loss as it is, with every parameter in its graph.

    Its backward pass reaches also parameters that the loss does not depend on, with no gradient for them, so that what earlier
    passes have left there is added over processes.
    """

    @staticmethod
    def forward(context: Any, loss: Tensor, *parameters: Tensor) -> Tensor:
        context.count = len(parameters)
        return loss.clone()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return (gradients[0], *[None] * context.count)
