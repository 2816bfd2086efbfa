"""A metric from outside that is not an accuracy: the expected calibration error (Guo et al., ICML 2017)."""

import numpy as np
from pydantic import Field

from kinetext.core.plugins import Options
from kinetext.evaluation.metrics.base import Metric


class CalibrationError(Metric):
    """Mean distance between confidence (the highest softmax) and accuracy over equally wide bins of confidence.

    A clip without frames is wrong with confidence 0.
    """

    class Config(Options):
        """Options of the metric."""

        bins: int = Field(15, ge=1, description="number of bins of confidence")

    higher_is_better = False

    def measure(self, sample, rivals=None):
        """Return the error, 0 to 1; NaN without clips."""
        if not len(sample):
            return float("nan")
        readable_B = ~np.isnan(sample.scores_BK[:, 0])
        scores_BK = np.where(readable_B[:, None], sample.scores_BK, 0.0)
        exp_BK = np.exp(scores_BK - scores_BK.max(1, keepdims=True))
        confidence_B = np.where(readable_B, exp_BK.max(1) / exp_BK.sum(1), 0.0)
        right_B = readable_B & (scores_BK.argmax(1) == sample.target_B)
        bin_B = np.minimum((confidence_B * self.config.bins).astype(int), self.config.bins - 1)
        gaps = np.bincount(bin_B, weights=confidence_B - right_B, minlength=self.config.bins)
        return float(np.abs(gaps).sum() / len(sample))
