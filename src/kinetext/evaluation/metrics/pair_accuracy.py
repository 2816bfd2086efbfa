"""Accuracy within confusable pairs."""

from typing import Any

import numpy as np

from kinetext.evaluation.metrics.base import Metric, Rivals


class PairAccuracy(Metric):
    """Fraction of clips whose own class scores strictly higher than its first rival. A tie is wrong, and chance is 0.5.

    Clips whose class has no rival are left out. Raises ValueError for a rival that is not among the labels.
    """

    needs_rivals = True

    def chance(self, sample: Any) -> float:
        return 0.5

    def clip_values(self, sample: Any, rivals: Rivals | None = None) -> np.ndarray:
        index = {label: k for k, label in enumerate(sample.labels)}
        rival_K = np.full(len(sample.labels), -1)
        for label, others in (rivals or {}).items():
            if label in index and others:
                if others[0] not in index:
                    raise ValueError(
                        f"rivals: '{others[0]}', rival of '{label}', is not among the labels; leave it out"
                    )
                rival_K[index[label]] = index[others[0]]
        rival_B = rival_K[sample.target_B]
        rows = np.arange(len(rival_B))
        right_B = sample.scores_BK[rows, sample.target_B] > sample.scores_BK[rows, rival_B]
        return np.where(rival_B < 0, np.nan, right_B)  # NaN > NaN is False: wrong
