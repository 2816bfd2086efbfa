"""Mean class accuracy: top-1 accuracy averaged over classes instead of clips."""

from typing import Any

from kinetext.evaluation.answers import Answers, answers, mean_of_classes
from kinetext.evaluation.metrics.base import Metric, Rivals
from kinetext.evaluation.predictions import Predictions


class MeanClassAccuracy(Metric):
    """Average the top-1 accuracies of the classes that have clips; rare classes weigh as much as common ones."""

    def guessing(self, sample: Any) -> float:
        return 1 / len(sample.labels)

    def prepare(self, predictions: Predictions) -> Answers:
        return answers(predictions)

    def measure(self, sample: Any, rivals: Rivals | None = None) -> float:
        return mean_of_classes(sample if isinstance(sample, Answers) else self.prepare(sample))
