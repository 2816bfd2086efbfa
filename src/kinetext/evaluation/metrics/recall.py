"""Recall at k of text-video retrieval (R@k)."""

from typing import Any

import numpy as np
from pydantic import Field

from kinetext.core.plugins import Options
from kinetext.evaluation.metrics.base import Metric, Rivals, mean, query_values


class Recall(Metric):
    """Fraction of queries for which the matching item has a rank of at most k."""

    class Config(Options):
        """Options of the metric."""

        k: int = Field(1, ge=1, description="highest rank that counts as found")

    task = "captions"

    def chance(self, sample: Any) -> float:
        return min(1.0, self.config.k / len(sample))  # a gallery has one item per clip

    def pseudo_values(self, sample: Any, rivals: Rivals | None = None) -> np.ndarray:
        return query_values(sample, sample.rank_Q <= self.config.k)

    def measure(self, sample: Any, rivals: Rivals | None = None) -> float:
        return mean(sample.rank_Q <= self.config.k)
