"""Mean class accuracy: top-1 accuracy averaged over classes instead of clips."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from kinetext.evaluation.metrics.base import Metric, Rivals, mean, num_not_below


class MeanClassAccuracy(Metric):
    """Average the top-1 accuracies of the classes that have clips; rare classes weigh as much as common ones."""

    def guessing(self, sample: Any) -> float:
        return 1 / len(sample.labels)

    def measure(self, sample: Any, rivals: Rivals | None = None) -> float:
        return self.measure_draws(sample, [np.arange(len(sample))])[0]

    def measure_draws(self, sample: Any, rows_D: Iterable[np.ndarray], rivals: Rivals | None = None) -> list[float]:
        right_B, num_classes = num_not_below(sample) < 1, len(sample.labels)
        value_D = []
        for rows in rows_D:
            clips_K = np.bincount(sample.target_B[rows], minlength=num_classes)
            right_K = np.bincount(sample.target_B[rows], weights=right_B[rows], minlength=num_classes)
            value_D.append(mean(right_K[clips_K > 0] / clips_K[clips_K > 0]))
        return value_D
