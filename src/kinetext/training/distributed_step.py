"""Compute the gradient of a batch that several processes share, with DistributedDataParallel, which averages gradients
over processes while the backward pass is still running.

Each process scales its loss so that the mean over processes is the loss of the whole batch. If a process computes its
part in pieces, gradients accumulate locally, and only the backward pass of the last piece averages them over processes.
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
    """Compute the gradient of a batch that several processes share.

    A process computes at most `size` clips at a time (None: all of its clips).
    """

    def __init__(self, objective: Objective, parameters: list[nn.Parameter], size: int | None = None) -> None:
        self.objective, self.size = objective, size
        self.reduce = DistributedDataParallel(_Reduced(parameters), gradient_as_bucket_view=True)
        self.piecewise = PiecewiseStep(objective, parameters, size or 1, self.reduce)

    def __call__(self, batch: Batch, key: Key) -> Losses:
        """Add the whole batch's gradient to every parameter's `grad`, and return this process's losses, detached."""
        if self.size is not None and self.size < max(batch.sizes):
            return self.piecewise(batch, key)
        losses: Losses = {}

        def loss() -> Tensor:
            seed_from(*key, distributed.rank(), 0)
            losses.update(self.objective.losses(batch))
            return total(losses)

        self.reduce(loss).backward()
        return {name: term.detach() for name, term in losses.items()}

    @property
    def unreached(self) -> set[int] | None:
        """The ids of the parameters on which the losses of the first step do not depend. None before the first step."""
        return self.reduce.module.unreached


def unreached(loss: Tensor, parameters: list[nn.Parameter]) -> set[int]:
    """Return the ids of the parameters that neither have a gradient nor get one from the loss.

    They have to be found before DistributedDataParallel sets their gradients to zeros.
    """
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return {id(p) for p, g in zip(parameters, gradients, strict=True) if g is None and p.grad is None}


class _Reduced(nn.Module):
    """The module that DistributedDataParallel wraps: the trained parameters, and a loss that is passed to `forward`."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        super().__init__()
        self.trained = nn.ParameterList(parameters)
        self.unreached: set[int] | None = None  # by the first loss and by earlier pieces of its batch

    def forward(self, loss: Loss) -> Tensor:
        value = loss()
        if self.unreached is None:
            self.unreached = unreached(value, list(self.trained))
        return _ReachAll.apply(value, *self.trained)


class _ReachAll(torch.autograd.Function):
    """Return a loss unchanged, but with every parameter in the autograd graph of the loss.

    The backward pass then also visits parameters on which the loss does not depend, so that DistributedDataParallel
    averages the gradients that earlier pieces have accumulated in them.
    """

    @staticmethod
    def forward(context: Any, loss: Tensor, *parameters: Tensor) -> Tensor:
        context.count = len(parameters)
        return loss.clone()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return (gradients[0], *[None] * context.count)
