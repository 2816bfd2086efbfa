"""What is measured: every public function here is a metric, a number from 0 to 1 out of the predictions of one split
under one view. A metric that asks for `rivals` is about confusable classes; its signature says so, nothing else does.

A tie counts as wrong: the clip's own class must score strictly higher than its competitor. A method that cannot tell
two classes apart gives both the same score (frames averaged without their order do so for a clip and its reversal),
and numpy's argmax would call half of those right. A clip without frames has NaN scores and counts as wrong, so that no
method gains by failing on a clip. Nothing to count gives NaN. Clips B, classes K.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from kinetext.evaluation.predictions import Predictions

F = TypeVar("F", bound=Callable[..., Any])


def _clip_mean(metric: F) -> F:
    """Mark a metric that is the mean of its values on single clips: its bootstrap need not score the clips again."""
    metric.clip_mean = True  # type: ignore[attr-defined]
    return metric


@_clip_mean
def top1(predictions: Predictions) -> float:
    """Share of clips whose own class scores strictly above every other class (a tie is wrong), 0 to 1."""
    return _mean(_ahead_B(predictions) < 1)


@_clip_mean
def top5(predictions: Predictions) -> float:
    """Share of clips with at most four other classes scoring as high as their own (a tie is wrong), 0 to 1.

    With five classes or fewer that is every clip that has frames.
    """
    return _mean(_ahead_B(predictions) < 5)


def mean_class_accuracy(predictions: Predictions) -> float:
    """Mean over the classes that have clips of the class's own top1 (a tie is wrong), 0 to 1: rare classes count alike."""
    right_B = _ahead_B(predictions) < 1
    num_classes = len(predictions.labels)
    clips_K = np.bincount(predictions.target_B, minlength=num_classes)
    right_K = np.bincount(predictions.target_B, weights=right_B, minlength=num_classes)
    return _mean(right_K[clips_K > 0] / clips_K[clips_K > 0])


@_clip_mean
def pair_accuracy(predictions: Predictions, rivals: dict[str, list[str]]) -> float:
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
    rows = np.flatnonzero(rival_B >= 0)
    own_B = predictions.scores_BK[rows, predictions.target_B[rows]]
    return _mean(own_B > predictions.scores_BK[rows, rival_B[rows]])  # NaN > NaN is False: wrong


def _ahead_B(predictions: Predictions) -> np.ndarray:
    """How many other classes are not strictly below the clip's own class; a clip with NaN scores: more than any."""
    own_B1 = np.take_along_axis(predictions.scores_BK, predictions.target_B[:, None], axis=1)
    not_below_B = (~(predictions.scores_BK < own_B1)).sum(axis=1) - 1  # minus the class itself
    return np.where(np.isnan(own_B1[:, 0]), np.iinfo(np.int32).max, not_below_B)


def _mean(values: np.ndarray) -> float:
    """The mean, or NaN of nothing (without numpy's warning)."""
    return float(np.mean(values)) if len(values) else float("nan")
