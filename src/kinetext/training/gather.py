"""Gather features from all processes. Gradients flow back to the process that computed each row."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from kinetext.core import distributed
from kinetext.training.features import map_tensors


def gather_features(features: Any, sizes: Sequence[int]) -> Any:
    """Return the features of the whole batch, gathered from all processes. Process r has `sizes[r]` rows.

    Each process then computes the loss of the whole batch. The backward pass sends the gradients back to the processes
    that computed the features. After DistributedDataParallel has averaged the parameters' gradients over processes,
    they equal the gradients of a single process with the whole batch. (CLIP4Clip and STAN keep only the gradient of the
    local features, which is too small by a factor of the number of processes.)
    """
    if len(sizes) == 1:
        return features
    return map_tensors(lambda tensor: _Gather.apply(tensor, sizes), features)


class _Gather(torch.autograd.Function):
    """Gather along the first axis; shorter parts are padded. The backward pass sums the gradients over processes."""

    @staticmethod
    def forward(context: Any, part: Tensor, sizes: Sequence[int]) -> Tensor:
        context.rows = sum(sizes[: distributed.rank()]), len(part)
        padded = part.new_zeros(max(sizes), *part.shape[1:])
        padded[: len(part)] = part
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([rows[:count] for rows, count in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        summed = gradients[0].contiguous()
        dist.all_reduce(summed)
        first, count = context.rows
        return summed[first : first + count], None
