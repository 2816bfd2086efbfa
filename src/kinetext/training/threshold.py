"""The first value of the threshold of binary losses (`Method.label_threshold`).

The threshold starts at the value where the mean predicted probability of a batch equals its fraction of positive pairs.
Without it, CLIP's scores of about 20 would mean that every pair is certain. SigLIP starts its bias at -10 instead
(Zhai et al., ICCV 2023), which fits scores of at most 10 and a batch of 32 thousand texts.

B clips, K texts.
"""

import torch
from torch import Tensor

from kinetext.core import distributed
from kinetext.methods.base import THRESHOLD_SCALE, Method


def set_threshold(method: Method, scores_BK: Tensor, share: float) -> None:
    """Set the threshold for the scores of a batch and its fraction of positive pairs, averaged over processes."""
    threshold = distributed.mean(torch.tensor(find_threshold(scores_BK, share), dtype=torch.float64))
    assert method.label_threshold is not None
    with torch.no_grad():
        method.label_threshold.fill_(float(threshold) / THRESHOLD_SCALE)


def find_threshold(scores_BK: Tensor, share: float) -> float:
    """Return the threshold for which the mean of sigmoid(score - threshold) equals `share`, found by bisection."""
    scores_BK = scores_BK.double()
    low, high = float(scores_BK.min()) - 20.0, float(scores_BK.max()) + 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if float((scores_BK - middle).sigmoid().mean()) > share else (low, middle)
    return (low + high) / 2
