"""Mean average precision (mAP) of clips with several labels each."""

from typing import Any

from kinetext.evaluation.average_precision import SortedScores, chance_precisions, sort_scores
from kinetext.evaluation.metrics.base import Metric, Rivals, mean
from kinetext.evaluation.predictions import Predictions


class AveragePrecision(Metric):
    """Average precision over the clips of each class, averaged over the classes that have clips (as on Charades).

    Clips without frames are ranked last.
    """

    task = "labels"

    def chance(self, sample: Any) -> float:
        sorted_scores = sample if isinstance(sample, SortedScores) else self.prepare(sample)
        count_K = sorted_scores.right_KB.sum(axis=1)
        return mean(chance_precisions(count_K[count_K > 0], len(sorted_scores)))

    def prepare(self, predictions: Predictions) -> SortedScores:
        assert predictions.labels_BK is not None
        return sort_scores(predictions.scores_BK, predictions.labels_BK, predictions.group_B)

    def measure(self, sample: Any, rivals: Rivals | None = None) -> float:
        return (sample if isinstance(sample, SortedScores) else self.prepare(sample)).mean()
