"""Contract checks of metrics, on random scores: 90 clips for 8 classes, or 40 clips for 40 captions."""

import math
from dataclasses import fields, replace
from typing import Any

import numpy as np

from kinetext.contracts import Case, require
from kinetext.evaluation.calibration import Calibration
from kinetext.evaluation.intervals import metric_interval
from kinetext.evaluation.metrics.base import Metric, Rivals
from kinetext.evaluation.predictions import Predictions
from kinetext.evaluation.retrieval import Ranks, rank_queries

LABELS = list("abcdefgh")
RIVALS: Rivals = {"a": ["b", "c"], "b": ["a"], "c": ["d"], "d": ["c"]}
TRAIN_CLIPS = np.array([400, 150, 90, 60, 40, 30, 10, 5])  # of each class
FITTED = Calibration(temperature=2.0, clips=50)
CLIPS = {"classes": 90, "captions": 40, "labels": 90}


def attributes_have_known_values(case: Case) -> None:
    """Check that task, unit, higher_is_better and needs_rivals have known values."""
    metric = case.cls
    require(metric.task in CLIPS, f"task is {metric.task!r}; take classes, captions or labels")
    require(metric.unit in ("share", "rank", "number"), f"unit is {metric.unit!r}; take share, rank or number")
    for name in ("higher_is_better", "needs_rivals"):
        require(isinstance(getattr(metric, name), bool), f"{name} is {getattr(metric, name)!r}; take True or False")
    require(not metric.needs_rivals or metric.task == "classes", "only classes have rivals; leave needs_rivals False")


def value_is_in_its_unit(case: Case) -> None:
    """Check that the value is a finite float in its unit, clips without frames included."""
    metric, sample, rivals = _inputs(case)
    value = metric.measure(sample, rivals)
    require(isinstance(value, float), f"measure returns {type(value).__name__}; take float(...)")
    require(math.isfinite(value), f"the value is {value}; one clip has NaN scores, which must count as wrong")
    require(metric.unit != "share" or 0 <= value <= 1, f"the unit is share, but the value is {value:.4g}")
    require(metric.unit != "rank" or value >= 1, f"the unit is rank, but the value is {value:.4g}")


def measuring_changes_nothing(case: Case) -> None:
    """Check that measuring twice gives the same value and leaves the scores as they are."""
    metric, sample, rivals = _inputs(case)
    before = _arrays(sample)
    first, second = metric.measure(sample, rivals), metric.measure(sample, rivals)
    require(first == second, f"the first value is {first:.6g}, the second {second:.6g}")
    same = all(np.array_equal(a, b, equal_nan=True) for a, b in zip(before, _arrays(sample), strict=True))
    require(same, "measure writes into the arrays that it is given; copy them first")


def clips_may_come_in_any_order(case: Case) -> None:
    """Check that the order of the clips does not change the value."""
    metric, sample, rivals = _inputs(case)
    order = np.random.default_rng(0).permutation(len(sample))
    _require_close(metric.measure(sample.take(order), rivals), metric.measure(sample, rivals))


def classes_may_come_in_any_order(case: Case) -> None:
    """Check that the order of the classes does not change the value."""
    metric, sample, rivals = _inputs(case)
    if isinstance(sample, Predictions):
        order = np.random.default_rng(0).permutation(len(sample.labels))
        turned = replace(
            sample,
            labels=[sample.labels[k] for k in order],
            target_B=np.argsort(order)[sample.target_B],  # of no meaning with several labels
            scores_BK=sample.scores_BK[:, order],
            train_clips_K=TRAIN_CLIPS[order],
            labels_BK=None if sample.labels_BK is None else sample.labels_BK[:, order],
        )
        _require_close(metric.measure(turned, rivals), metric.measure(sample, rivals))


def no_clips_give_nan(case: Case) -> None:
    """Check that the value is NaN if there are no clips."""
    metric, sample, rivals = _inputs(case)
    value = metric.measure(sample.take(np.array([], int)), rivals)
    require(math.isnan(value), f"the value of no clips is {value}")


def right_is_no_worse_than_wrong(case: Case) -> None:
    """Check that confident correct scores are no worse than confident wrong scores."""
    metric = case.cls(case.config)
    rivals = RIVALS if metric.needs_rivals else None
    right, wrong = (metric.measure(_certain(metric, sign), rivals) for sign in (1, -1))
    better = right >= wrong if metric.higher_is_better else right <= wrong
    direction = "higher" if metric.higher_is_better else "lower"
    require(better, f"right scores give {right:.4g}, wrong ones {wrong:.4g}, and {direction} is said to be better")


def clip_values_agree_with_measure(case: Case) -> None:
    """Check that each clip value, if there are any, is the metric of that clip, and that their mean is the metric."""
    metric, sample, rivals = _inputs(case)
    value_B = metric.clip_values(sample, rivals)
    if value_B is None:
        return
    require(np.shape(value_B) == (len(sample),), f"clip_values has shape {np.shape(value_B)}, not ({len(sample)},)")
    _require_close(float(np.nanmean(value_B)), metric.measure(sample, rivals))
    for b in range(len(sample)):
        _require_close(float(value_B[b]), metric.measure(sample.take(np.array([b])), rivals))


def interval_is_finite(case: Case) -> None:
    """Check that the confidence interval of the metric is finite."""
    metric, sample, rivals = _inputs(case)
    low, high = metric_interval(metric, sample, rivals, draws=50)[:2]
    require(math.isfinite(low) and math.isfinite(high), f"the interval is [{low}, {high}]")


CHECKS = (
    attributes_have_known_values,
    value_is_in_its_unit,
    measuring_changes_nothing,
    clips_may_come_in_any_order,
    classes_may_come_in_any_order,
    no_clips_give_nan,
    right_is_no_worse_than_wrong,
    clip_values_agree_with_measure,
    interval_is_finite,
)


def _inputs(case: Case) -> tuple[Metric, Any, Rivals | None]:
    """Return the metric, a sample in which one clip has no frames, and rivals if the metric needs them, else None."""
    metric = case.cls(case.config)
    random, num_clips = np.random.default_rng(3), CLIPS[metric.task]
    if metric.task == "captions":
        scores_BK = random.normal(size=(num_clips, num_clips)) + np.eye(num_clips)
        scores_BK[7] = np.nan
        return metric, rank_queries(scores_BK, np.arange(num_clips))["t2v"], None
    target_B = random.integers(len(LABELS), size=num_clips)
    scores_BK = random.normal(size=(num_clips, len(LABELS)))
    scores_BK[np.arange(num_clips), target_B] += 1.0
    scores_BK[7] = np.nan
    predictions = Predictions(LABELS, target_B, scores_BK, train_clips_K=TRAIN_CLIPS, calibration=FITTED)
    rivals = RIVALS if metric.needs_rivals else None
    return metric, _several(predictions) if metric.task == "labels" else predictions, rivals


def _several(predictions: Predictions) -> Predictions:
    """Return multi-label predictions: each clip has its class as label, and every fifth clip also the next class."""
    labels_BK = np.eye(len(LABELS), dtype=bool)[predictions.target_B]
    labels_BK[::5] |= np.roll(labels_BK[::5], 1, axis=1)
    return replace(predictions, target_B=np.full(len(labels_BK), -1), labels_BK=labels_BK)


def _certain(metric: Metric, sign: int) -> Predictions | Ranks:
    """Return scores in which the correct class or caption is far above (sign 1) or far below (sign -1) all others."""
    if metric.task == "captions":
        return rank_queries(100.0 * sign * np.eye(24), np.arange(24))["t2v"]
    target_B = np.repeat(np.arange(len(LABELS)), 3)
    scores_BK = 100.0 * sign * np.eye(len(LABELS))[target_B]
    predictions = Predictions(LABELS, target_B, scores_BK, train_clips_K=TRAIN_CLIPS, calibration=FITTED)
    return _several(predictions) if metric.task == "labels" else predictions


def _arrays(sample: Predictions | Ranks) -> list[np.ndarray]:
    values = (getattr(sample, field.name) for field in fields(sample))  # not what a property keeps
    return [value.copy() for value in values if isinstance(value, np.ndarray)]


def _require_close(value: float, expected: float) -> None:
    close = (math.isnan(value) and math.isnan(expected)) or math.isclose(value, expected, rel_tol=1e-9, abs_tol=1e-12)
    require(close, f"it is {value:.6g} instead of {expected:.6g}")
