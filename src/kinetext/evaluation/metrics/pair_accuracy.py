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
        target_score_B = np.take_along_axis(sample.scores_BK, sample.target_B[:, None], axis=1)[:, 0]
        value_B = np.full(len(target_score_B), np.nan)
        for label, others in (rivals or {}).items():
            if label not in index or not others:
                continue
            if unknown := [other for other in others if other not in index]:
                raise ValueError(f"rivals: '{unknown[0]}', rival of '{label}', is not among the labels; leave it out")
            of_class = np.flatnonzero(sample.target_B == index[label])
            rivals_R = np.array([index[other] for other in others])
            rival_scores_BR = sample.scores_BK[np.ix_(of_class, rivals_R)]
            is_higher_BR = target_score_B[of_class, None] > rival_scores_BR  # NaN > NaN is False: wrong
            value_B[of_class] = is_higher_BR.mean(axis=1)
        return value_B
