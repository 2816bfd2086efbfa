"""Ties of text-video retrieval."""

from typing import Any

import numpy as np

from kinetext.evaluation.metrics.base import Metric, Rivals, mean, query_values


class Ties(Metric):
    """Share of queries where another item scores exactly as high as their own, which counts as found."""

    task, higher_is_better = "captions", False

    def pseudo_values(self, sample: Any, rivals: Rivals | None = None) -> np.ndarray:
        return query_values(sample, sample.tied_Q)

    def measure(self, sample: Any, rivals: Rivals | None = None) -> float:
        return mean(sample.tied_Q)
