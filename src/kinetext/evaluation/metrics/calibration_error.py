"""Expected calibration error (ECE)."""

from typing import Any

from pydantic import Field

from kinetext.core.plugins import Options
from kinetext.evaluation.answers import Answers, confident_answers
from kinetext.evaluation.calibration import expected_error
from kinetext.evaluation.metrics.base import Metric, Rivals
from kinetext.evaluation.predictions import Predictions


class CalibrationError(Metric):
    """Expected difference between confidence and accuracy (Guo et al., ICML 2017).

    Confidence is the probability of the class that scores highest. Clips without frames have no probability and are
    left out.
    """

    class Config(Options):
        """Options of the metric."""

        bins: int = Field(15, ge=1, description="bins of equal width between 0 and 1")
        calibrated: bool = Field(False, description="use shares with the temperature fitted on validation clips")

    higher_is_better = False
    ordered_only = True

    def prepare(self, predictions: Predictions) -> Answers | None:
        if predictions.calibration.ranks_only or (self.config.calibrated and not predictions.calibration.fitted):
            return None
        return confident_answers(predictions, self.config.calibrated)

    def measure(self, sample: Any, rivals: Rivals | None = None) -> float:
        prepared = sample if isinstance(sample, Answers) else self.prepare(sample)
        if prepared is None or prepared.confidence_B is None:
            return float("nan")
        return expected_error(prepared.confidence_B, prepared.right_B, self.config.bins)
