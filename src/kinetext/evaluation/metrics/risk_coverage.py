"""Area under the risk-coverage curve (AURC)."""

from typing import Any

from kinetext.evaluation.answers import Answers, confident_answers
from kinetext.evaluation.calibration import selective_risk
from kinetext.evaluation.metrics.base import Metric, Rivals, mean
from kinetext.evaluation.predictions import Predictions


class RiskCoverage(Metric):
    """Error rate among the n most confident clips, averaged over all n (Geifman and El-Yaniv, NeurIPS 2017).

    It is low if the confident predictions of a method are right. Confidence is the probability of the class that scores
    highest, calibrated if the run has validation clips. Clips without frames have no confidence and are left out.
    """

    higher_is_better = False
    ordered_only = True

    def prepare(self, predictions: Predictions) -> Answers | None:
        if predictions.calibration.ranks_only:
            return None
        return confident_answers(predictions, predictions.calibration.fitted)

    def measure(self, sample: Any, rivals: Rivals | None = None) -> float:
        prepared = sample if isinstance(sample, Answers) else self.prepare(sample)
        if prepared is None or prepared.confidence_B is None:
            return float("nan")
        return mean(selective_risk(prepared.confidence_B, prepared.right_B))
