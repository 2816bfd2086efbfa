"""The contrastive loss of text-video retrieval, and the batch of all processes that it is worked out over.

B videos and their B texts, row b of each belonging together.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from kinetext.core import distributed
from kinetext.training.features import each


def contrastive_loss(scores_BB: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Symmetric InfoNCE (CLIP, Radford et al. 2021): the mean of the cross-entropies video to text and text to video.

    STAN's released code has their sum (reference/stan.md 2.1).
    """
    own_B = torch.arange(len(scores_BB), device=scores_BB.device)
    to_text = F.cross_entropy(scores_BB, own_B, label_smoothing=label_smoothing)
    to_video = F.cross_entropy(scores_BB.T, own_B, label_smoothing=label_smoothing)
    return (to_text + to_video) / 2


def gathered(features: Any, sizes: Sequence[int]) -> Any:
    """Features of the whole batch from each process's part of it, of which process r has `sizes[r]` rows: a tensor with the
    clips (or texts) first, or a tuple of such. With one process, what came in.

    Each process works out the whole loss; what it says of another's features goes back to that process. Averaged over
    processes, as DistributedDataParallel does, the gradient is then that of one process with the whole batch. (CLIP4Clip's
    and STAN's gather keep the own part alone, a gradient too small by the number of processes.)
    """
    if len(sizes) == 1:
        return features
    return each(lambda tensor: _Gather.apply(tensor, sizes), features)


class _Gather(torch.autograd.Function):
    """all_gather along the first axis, shorter parts filled up on the way; backwards the sum over processes of the own
    part's gradients.
    """

    @staticmethod
    def forward(context: Any, part: Tensor, sizes: Sequence[int]) -> Tensor:
        context.rows = sum(sizes[: distributed.rank()]), len(part)
        filled = part.new_zeros(max(sizes), *part.shape[1:])
        filled[: len(part)] = part
        parts = [torch.empty_like(filled) for _ in sizes]
        dist.all_gather(parts, filled)
        return torch.cat([whole[:count] for whole, count in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].contiguous()
        dist.all_reduce(total)
        first, count = context.rows
        return total[first : first + count], None
