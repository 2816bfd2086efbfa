"""Fraction of ties in text-video retrieval."""

from typing import Any

import numpy as np

from kinetext.evaluation.metrics.base import Metric, Rivals, mean, query_values


class Ties(Metric):
    """Fraction of queries for which another item scores as high as the matching item. A tie favours the query."""

    task, higher_is_better = "captions", False

    def pseudo_values(self, sample: Any, rivals: Rivals | None = None) -> np.ndarray:
        return query_values(sample, sample.tied_Q)

    def measure(self, sample: Any, rivals: Rivals | None = None) -> float:
        return mean(sample.tied_Q)
