"""Mean class accuracy: top-1 accuracy averaged over classes instead of clips."""

from typing import Any

import numpy as np

from kinetext.evaluation.answers import Answers, answers, mean_of_classes
from kinetext.evaluation.metrics.base import Metric, Rivals
from kinetext.evaluation.predictions import Predictions


class MeanClassAccuracy(Metric):
    """Mean of the top-1 accuracies of the classes that have clips. Rare classes weigh as much as common ones."""

    def chance(self, sample: Any) -> float:
        return 1 / len(sample.labels)

    def prepare(self, predictions: Predictions) -> Answers:
        return answers(predictions)

    def pseudo_values(self, sample: Any, rivals: Rivals | None = None) -> np.ndarray:
        known = sample if isinstance(sample, Answers) else self.prepare(sample)
        clips_K = np.bincount(known.target_B, minlength=len(known.labels))
        right_K = np.bincount(known.target_B, weights=known.right_B, minlength=len(known.labels))
        share_K = right_K / np.maximum(clips_K, 1)
        weight_K = len(known) / (max(1, (clips_K > 0).sum()) * np.maximum(clips_K, 1))
        return mean_of_classes(known) + weight_K[known.target_B] * (known.right_B - share_K[known.target_B])

    def measure(self, sample: Any, rivals: Rivals | None = None) -> float:
        return mean_of_classes(sample if isinstance(sample, Answers) else self.prepare(sample))
