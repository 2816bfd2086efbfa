"""Mean average precision (mAP) of clips with several labels each."""

from typing import Any

from kinetext.evaluation.average_precision import SortedScores, sort_scores
from kinetext.evaluation.metrics.base import Metric, Rivals
from kinetext.evaluation.predictions import Predictions


class AveragePrecision(Metric):
    """Average precision over the clips of each class, averaged over the classes that have clips (as on Charades).

    Clips without frames are ranked last.
    """

    task = "labels"

    def prepare(self, predictions: Predictions) -> SortedScores:
        assert predictions.labels_BK is not None
        return sort_scores(predictions.scores_BK, predictions.labels_BK, predictions.group_B)

    def measure(self, sample: Any, rivals: Rivals | None = None) -> float:
        return (sample if isinstance(sample, SortedScores) else self.prepare(sample)).mean()
