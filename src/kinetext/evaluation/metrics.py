"""What is measured: every public function here is a metric, a number from 0 to 1 out of the predictions of one split
under one view. A metric that asks for `rivals` is about confusable classes; its signature says so, nothing else does.

A tie counts as wrong: the clip's own class must score strictly higher than its competitor. A method that cannot tell
two classes apart gives both the same score (frames averaged without their order do so for a clip and its reversal),
and numpy's argmax would call half of those right. A clip without frames has NaN scores and counts as wrong, so that no
method gains by failing on a clip. Nothing to count gives NaN. Clips B, classes K.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from kinetext.evaluation.predictions import Predictions


def _mean_over_clips(values_B: Callable[..., np.ndarray]) -> Callable[..., float]:
    """A metric that is the mean of a value that each clip has by itself, NaN for a clip that is left out.

    The values stay at hand as `metric.values_B`: bootstraps and paired tests need them, and not the scores again.
    """

    @wraps(values_B)
    def metric(*args: Any, **kwargs: Any) -> float:
        value_B = values_B(*args, **kwargs)
        return _mean(value_B[~np.isnan(value_B)])

    metric.values_B = values_B  # type: ignore[attr-defined]
    return metric


@_mean_over_clips
def top1(predictions: Predictions) -> np.ndarray:
    """Share of clips whose own class scores strictly above every other class (a tie is wrong), 0 to 1."""
    return (_ahead_B(predictions) < 1).astype(float)


@_mean_over_clips
def top5(predictions: Predictions) -> np.ndarray:
    """Share of clips with at most four other classes scoring as high as their own (a tie is wrong), 0 to 1.

    With five classes or fewer that is every clip that has frames.
    """
    return (_ahead_B(predictions) < 5).astype(float)


def mean_class_accuracy(predictions: Predictions) -> float:
    """Mean over the classes that have clips of the class's own top1 (a tie is wrong), 0 to 1: rare classes count alike."""
    right_B = _ahead_B(predictions) < 1
    num_classes = len(predictions.labels)
    clips_K = np.bincount(predictions.target_B, minlength=num_classes)
    right_K = np.bincount(predictions.target_B, weights=right_B, minlength=num_classes)
    return _mean(right_K[clips_K > 0] / clips_K[clips_K > 0])


@_mean_over_clips
def pair_accuracy(predictions: Predictions, rivals: dict[str, list[str]]) -> np.ndarray:
    """Share of clips whose own class scores strictly above its first rival (a tie is wrong), 0 to 1; chance is 0.5.

    `rivals` gives for each label the labels that it is taken for, the likeliest first. Clips whose class has none are
    left out. Raises ValueError for a rival that is not among the labels.
    """
    index = {label: k for k, label in enumerate(predictions.labels)}
    rival_K = np.full(len(predictions.labels), -1)
    for label, others in rivals.items():
        if label in index and others:
            if others[0] not in index:
                raise ValueError(f"rivals: '{others[0]}', rival of '{label}', is none of the labels; leave it out")
            rival_K[index[label]] = index[others[0]]
    rival_B = rival_K[predictions.target_B]
    rows = np.arange(len(rival_B))
    right_B = predictions.scores_BK[rows, predictions.target_B] > predictions.scores_BK[rows, rival_B]
    return np.where(rival_B < 0, np.nan, right_B)  # NaN > NaN is False: wrong


def _ahead_B(predictions: Predictions) -> np.ndarray:
    """How many other classes are not strictly below the clip's own class; a clip with NaN scores: more than any."""
    own_B1 = np.take_along_axis(predictions.scores_BK, predictions.target_B[:, None], axis=1)
    not_below_B = (~(predictions.scores_BK < own_B1)).sum(axis=1) - 1  # minus the class itself
    return np.where(np.isnan(own_B1[:, 0]), np.iinfo(np.int32).max, not_below_B)


def _mean(values: np.ndarray) -> float:
    """The mean, or NaN of nothing (without numpy's warning)."""
    return float(np.mean(values)) if len(values) else float("nan")
