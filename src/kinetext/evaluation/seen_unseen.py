"""The trade-off between trained (seen) and novel (unseen) classes: calibrated stacking and the area AUSUC.

A number, the bias, is added to the scores of all novel classes (calibrated stacking: Chao et al., ECCV 2016). The
higher it is, the more unseen clips and the fewer seen clips are right. The curve of one accuracy over the other, and
the area below it (AUSUC), do not depend on how a method weighs novel against trained classes.

A seen clip is right below some bias, and an unseen clip above some bias. So the area is the fraction of pairs of a seen
and an unseen clip for which some bias makes both right. This is a Mann-Whitney statistic, with DeLong's variance
(DeLong et al. 1988).

B clips, of one split or of both.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from kinetext.evaluation.predictions import Predictions

SEEN, UNSEEN = "test_among_all", "novel_among_all"
BASE = {"novel": "test", UNSEEN: SEEN}  # splits of novel classes, each with the split of base classes
POINTS = 41  # of the curve of a run


class Limits(NamedTuple):
    """The bias below which each seen clip is right, and the bias above which each unseen clip is right."""

    seen_B: np.ndarray  # -inf: never right
    unseen_B: np.ndarray  # inf: never right


def limits(seen: Predictions, unseen: Predictions, novel: set[str]) -> Limits:
    """Return the limits of all clips. `novel` are the novel classes. A tie and a clip without frames count as wrong."""
    target_score_B, rival_B, others_B = _best_scores(seen, novel)
    with np.errstate(invalid="ignore"):
        seen_B = np.where(target_score_B > rival_B, target_score_B - others_B, -np.inf)
        target_score_B, rival_B, others_B = _best_scores(unseen, novel)
        unseen_B = np.where(target_score_B > rival_B, others_B - target_score_B, np.inf)
    return Limits(
        np.nan_to_num(seen_B, nan=-np.inf, neginf=-np.inf), np.nan_to_num(unseen_B, nan=np.inf, posinf=np.inf)
    )


def _best_scores(predictions: Predictions, novel: set[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return three scores [B]: of the clip's class, and of the best other class of the same and of the other kind.

    The two kinds are trained and novel classes.
    """
    novel_K = np.array([label in novel for label in predictions.labels])
    target_B = predictions.target_B
    target_score_B = predictions.scores_BK[np.arange(len(predictions)), target_B]
    same_BK = novel_K == novel_K[target_B][:, None]
    others_B = np.where(same_BK, -np.inf, predictions.scores_BK).max(axis=1, initial=-np.inf)
    same_BK[np.arange(len(predictions)), target_B] = False
    return target_score_B, np.where(same_BK, predictions.scores_BK, -np.inf).max(axis=1, initial=-np.inf), others_B


def pseudo_values(limit: Limits) -> tuple[np.ndarray, np.ndarray]:
    """Return the pseudo-values of the seen clips, then of the unseen clips.

    The mean over all clips is AUSUC and varies as it does.
    """
    seen_B, unseen_B = limit
    of_seen_B = np.searchsorted(np.sort(unseen_B), seen_B, side="left") / len(unseen_B)
    of_unseen_B = 1 - np.searchsorted(np.sort(seen_B), unseen_B, side="right") / len(seen_B)
    value, clips = float(of_seen_B.mean()), len(seen_B) + len(unseen_B)
    return (
        value + clips / len(seen_B) * (of_seen_B - value),
        value + clips / len(unseen_B) * (of_unseen_B - value),
    )


def curve(limit: Limits, points: int = POINTS) -> Iterator[dict[str, float]]:
    """Yield points of the curve at quantiles of all limits: "bias", and the accuracies "seen" and "unseen"."""
    finite_B = np.concatenate([part[np.isfinite(part)] for part in limit])
    if not len(finite_B):
        return
    ends = [finite_B.min() - 1, finite_B.max() + 1]
    inner = np.quantile(finite_B, np.linspace(0, 1, points - 2))
    for bias in [ends[0], *inner.tolist(), ends[1]]:
        yield {
            "bias": float(bias),
            "seen": float((limit.seen_B > bias).mean()),
            "unseen": float((limit.unseen_B < bias).mean()),
        }


def both_splits(
    predictions: Mapping[tuple[str, str], Predictions],
) -> Iterator[tuple[str, Predictions, Predictions, set[str]]]:
    """Yield (frame order, seen split, unseen split, novel classes) for each frame order of a base_to_novel run."""
    for (split, frame_order), seen in predictions.items():
        unseen, novel = predictions.get((UNSEEN, frame_order)), predictions.get(("novel", frame_order))
        if split == SEEN and unseen is not None and novel is not None and len(seen) and len(unseen):
            yield frame_order, seen, unseen, set(novel.labels)
