"""Mean class accuracy: top-1 accuracy averaged over classes instead of clips."""

from typing import Any

import numpy as np

from kinetext.evaluation.metrics.base import Metric, Rivals, mean, num_not_below


class MeanClassAccuracy(Metric):
    """Average the top-1 accuracies of the classes that have clips; rare classes weigh as much as common ones."""

    def guessing(self, sample: Any) -> float:
        return 1 / len(sample.labels)

    def measure(self, sample: Any, rivals: Rivals | None = None) -> float:
        right_B = num_not_below(sample) < 1
        num_classes = len(sample.labels)
        clips_K = np.bincount(sample.target_B, minlength=num_classes)
        right_K = np.bincount(sample.target_B, weights=right_B, minlength=num_classes)
        return mean(right_K[clips_K > 0] / clips_K[clips_K > 0])
