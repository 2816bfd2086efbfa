"""Area under the risk-coverage curve (AURC)."""

from typing import Any

from kinetext.evaluation.answers import Answers, confident_answers
from kinetext.evaluation.calibration import selective_risk
from kinetext.evaluation.metrics.base import Metric, Rivals, mean
from kinetext.evaluation.predictions import Predictions


class RiskCoverage(Metric):
    """Mean share of errors among the n most confident clips, over all n (Geifman and El-Yaniv, NeurIPS 2017).

    Low if a method knows when it is right. Confidence is the share of the class that scores highest, calibrated where
    there are validation clips. Clips without frames have none and are left out.
    """

    higher_is_better = False
    ordered_only = True

    def prepare(self, predictions: Predictions) -> Answers:
        return confident_answers(predictions, predictions.calibration.fitted)

    def measure(self, sample: Any, rivals: Rivals | None = None) -> float:
        prepared = sample if isinstance(sample, Answers) else self.prepare(sample)
        assert prepared.confidence_B is not None
        return mean(selective_risk(prepared.confidence_B, prepared.right_B))
