"""Accuracy by kind of motion: what each method sees.

Data sets may give each clip a kind (column `kind` of the table `clips`), for instance loop, camera or sequence. The
table `metrics` then has for each kind the rows

    kind_accuracy:KIND             top-1 accuracy of its clips among all classes
    kind_pair_accuracy:RULE:KIND   pair accuracy of its clips, each against the rivals of its class under the rule

with the frames in order. There are none if all clips are of one kind, which would repeat `top1`. B clips.
"""

from collections.abc import Mapping

import numpy as np

from kinetext.evaluation.predictions import Predictions

KIND_ACCURACY, KIND_PAIR_ACCURACY = "kind_accuracy", "kind_pair_accuracy"


def clips_by_kind(predictions: Predictions) -> dict[str, np.ndarray]:
    """Return the indices of the clips of each kind, by the kind's name. Empty if there are fewer than two kinds.

    Clips of unknown kind are left out.
    """
    if predictions.kind_B is None:
        return {}
    kinds = [str(kind) for kind in np.unique(predictions.kind_B) if kind]
    return {kind: np.flatnonzero(predictions.kind_B == kind) for kind in kinds} if len(kinds) > 1 else {}


def kind_values(predictions: Predictions, values: Mapping[str, np.ndarray | None]) -> dict[str, np.ndarray | None]:
    """Return the pseudo-values [B] of the metrics by kind of motion. Clips of other kinds have NaN.

    `values` has the pseudo-values of the same metrics on all clips, by metric.
    """
    by_kind: dict[str, np.ndarray | None] = {}
    for kind, rows in clips_by_kind(predictions).items():
        for name, value_B in values.items():
            metric, _, rule = name.partition(":")
            if value_B is None or metric not in ("top1", "pair_accuracy"):
                continue
            kind_B = np.full(len(predictions), np.nan)
            kind_B[rows] = value_B[rows]
            if not np.isnan(kind_B).all():
                by_kind[metric_name(kind, rule)] = kind_B
    return by_kind


def metric_name(kind: str, rule: str = "") -> str:
    """Return the name of the accuracy on a kind in the table `metrics`; with a rule, of the pair accuracy on it."""
    return f"{KIND_PAIR_ACCURACY}:{rule}:{kind}" if rule else f"{KIND_ACCURACY}:{kind}"


def is_by_kind(metric: str) -> bool:
    """Return whether a metric is the accuracy on one kind of motion."""
    return metric.startswith((f"{KIND_ACCURACY}:", f"{KIND_PAIR_ACCURACY}:"))
