"""Top-k accuracy."""

from typing import Any

import numpy as np
from pydantic import Field

from kinetext.core.plugins import Options
from kinetext.evaluation.metrics.base import Metric, Rivals


class TopK(Metric):
    """Fraction of clips for which fewer than k other classes score at least as high as the clip's own. A tie is wrong.

    If there are at most k classes, every clip that has frames counts as right.
    """

    class Config(Options):
        """Options of the metric."""

        k: int = Field(1, ge=1, description="number of highest classes among which the clip's own must be")

    def chance(self, sample: Any) -> float:
        return min(1.0, self.config.k / len(sample.labels))

    def clip_values(self, sample: Any, rivals: Rivals | None = None) -> np.ndarray:
        return (sample.rank_B <= self.config.k).astype(float)
