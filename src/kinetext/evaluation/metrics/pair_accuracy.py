"""Accuracy within confusable pairs."""

from typing import Any

import numpy as np

from kinetext.evaluation.metrics.base import Metric, Rivals


class PairAccuracy(Metric):
    """Fraction of the rivals of a clip's class that score strictly lower than the class, averaged over clips.

    A tie is wrong, and chance is 0.5. A class may have several rivals, for instance "once", "twice" and "three times":
    with one rival of each, a method that prefers the same class for all clips could have two thirds. Clips whose class
    has no rival are left out. Raises ValueError for a rival that is not among the labels.
    """

    needs_rivals = True

    def chance(self, sample: Any) -> float:
        return 0.5

    def clip_values(self, sample: Any, rivals: Rivals | None = None) -> np.ndarray:
        index = {label: k for k, label in enumerate(sample.labels)}
        known = {label: others for label, others in (rivals or {}).items() if label in index}
        rival_KR = np.full(
            (len(sample.labels), max(map(len, known.values()), default=0)), -1
        )  # -1: fewer than R rivals
        for label, others in known.items():
            if unknown := [other for other in others if other not in index]:
                raise ValueError(f"rivals: '{unknown[0]}', rival of '{label}', is not among the labels; leave it out")
            rival_KR[index[label], : len(others)] = [index[other] for other in others]
        rival_BR = rival_KR[sample.target_B]
        target_score_B1 = np.take_along_axis(sample.scores_BK, sample.target_B[:, None], axis=1)
        is_higher_BR = target_score_B1 > np.take_along_axis(sample.scores_BK, rival_BR, axis=1)  # NaN > NaN: wrong
        count_B = (rival_BR >= 0).sum(axis=1)
        return np.where(count_B > 0, (is_higher_BR & (rival_BR >= 0)).sum(axis=1) / np.maximum(count_B, 1), np.nan)
