"""The contrastive loss of text-video retrieval, and the batch of all processes that it is worked out over.

B videos and their B texts, row b of each belonging together.
"""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor


def contrastive_loss(scores_BB: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Symmetric InfoNCE (CLIP, Radford et al. 2021): the mean of the cross-entropies video to text and text to video.

    STAN's released code has their sum (reference/stan.md 2.1).
    """
    own_B = torch.arange(len(scores_BB), device=scores_BB.device)
    to_text = F.cross_entropy(scores_BB, own_B, label_smoothing=label_smoothing)
    to_video = F.cross_entropy(scores_BB.T, own_B, label_smoothing=label_smoothing)
    return (to_text + to_video) / 2


def gathered(features: Any) -> Any:
    """Features of the whole batch from each process's part of it: a tensor with the clips (or texts) first, or a tuple of
    such. Without torch.distributed, or with one process, what came in. Every part must have the same shape.

    Each process works out the whole loss; what it says of another's features goes back to that process. Averaged over
    processes, as DistributedDataParallel does, the gradient is then that of one process with the whole batch. (CLIP4Clip's
    and STAN's gather keep the own part alone, a gradient too small by the number of processes.)
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return features
    if isinstance(features, Tensor):
        return _Gather.apply(features)
    parts = [gathered(part) for part in features]
    return type(features)(*parts) if hasattr(features, "_fields") else type(features)(parts)


class _Gather(torch.autograd.Function):
    """all_gather along the first axis; backwards the sum over processes of the own part's gradients."""

    @staticmethod
    def forward(context: Any, part: Tensor) -> Tensor:
        context.length = len(part)
        parts = [torch.empty_like(part) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, part.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous()
        dist.all_reduce(total)
        return total[dist.get_rank() * context.length :][: context.length]
