"""Monotone alignment of frames with steps: how well a clip fits an ordered list of steps.

Every frame belongs to one step, steps are in order, and no step is left out. The score of an alignment is the mean
cosine of the frames with their steps. With `temperature` 0 the score of a clip is that of the best alignment, found by
dynamic programming as in dynamic time warping. Above 0 it is a soft maximum over all alignments, temperature x the log
of the mean of exp(sum / temperature), as in soft-DTW (Cuturi and Blondel, "Soft-DTW", ICML 2017), divided by the number
of frames. The mean, where soft-DTW has a sum, makes the score independent of the number of alignments: more steps are
no advantage for a class. At high temperature, all monotone alignments have equal weight.

`order` is a prior on the time of a step: an alignment costs order x (time of the frame - position of the step)^2 per
frame, with time and position from 0 to 1, relative to the cheapest (or mean) alignment. Without it, a clip of the
reversed class also fits, with all frames but one in one step.

B clips, T frames, G groups of steps, M maximum steps per group.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

NEVER = -1e4  # below any sum of cosines; -inf would give NaN gradients in the soft maximum


def alignment_score(
    cosine_BGTM: Tensor,
    count_G: Tensor,
    position_GM: Tensor | None = None,
    temperature: float = 0.0,
    order: float = 0.0,
) -> Tensor:
    """Return the alignment score [B, G] of each clip with each group; if all cosines are c, it is c.

    `count_G` has the number of steps of each group, at most M; `position_GM` their positions, used with `order`. If
    there are fewer frames than steps, frames are repeated.
    """
    T, M = cosine_BGTM.shape[-2:]
    cosine_BGTM = cosine_BGTM.repeat_interleave(-(-M // T), dim=2)
    T = cosine_BGTM.shape[2]
    if not order or position_GM is None:
        total_BG = _best_sum(cosine_BGTM, count_G, temperature)
        return (total_BG - _log_alignments(T, count_G, temperature)) / T
    time_T = torch.linspace(0, 1, T, device=cosine_BGTM.device)
    prior_GTM = -order * (time_T[:, None] - position_GM[:, None]) ** 2
    total_BG = _best_sum(cosine_BGTM + prior_GTM, count_G, temperature)
    return (total_BG - _best_sum(prior_GTM[None], count_G, temperature)) / T


def unordered_score(cosine_BGTM: Tensor, count_G: Tensor) -> Tensor:
    """Return the mean cosine [B, G] over all frames and steps, ignoring their order."""
    step_M = torch.arange(cosine_BGTM.shape[-1], device=count_G.device)
    has_GM = step_M < count_G[:, None]
    return (cosine_BGTM.mean(2) * has_GM).sum(-1) / count_G


def _best_sum(value_BGTM: Tensor, count_G: Tensor, temperature: float) -> Tensor:
    """Return the (soft) maximum [B, G] over alignments of the sum of values.

    The best sum up to frame t in step m continues from step m or m - 1.
    """
    first_BGM = torch.full_like(value_BGTM[:, :, 0, 1:], NEVER)
    best_BGM = torch.cat([value_BGTM[:, :, 0, :1], first_BGM], -1)
    for value_BGM in value_BGTM.unbind(2)[1:]:
        before_BGM = F.pad(best_BGM[..., :-1], (1, 0), value=NEVER)
        if temperature:
            best_BGM = temperature * torch.logaddexp(best_BGM / temperature, before_BGM / temperature) + value_BGM
        else:
            best_BGM = torch.maximum(best_BGM, before_BGM) + value_BGM
    # not len(), which would fix the number of clips in an exported model
    last_BG1 = (count_G - 1).expand(best_BGM.shape[0], -1)[..., None]
    return best_BGM.gather(-1, last_BG1)[..., 0]


def _log_alignments(T: int, count_G: Tensor, temperature: float) -> Tensor | float:
    """Return temperature x the log [G] of the number of alignments, T - 1 choose steps - 1."""
    if not temperature:
        return 0.0
    chosen_G = count_G - 1.0
    return temperature * (
        torch.lgamma(torch.tensor(float(T))) - torch.lgamma(chosen_G + 1) - torch.lgamma(T - chosen_G)
    )
