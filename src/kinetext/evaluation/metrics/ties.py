"""Ties of text-video retrieval."""

from typing import Any

from kinetext.evaluation.metrics.base import Metric, Rivals, mean


class Ties(Metric):
    """Share of queries where another item scores exactly as high as their own, which counts as found."""

    task, higher_is_better = "captions", False

    def measure(self, sample: Any, rivals: Rivals | None = None) -> float:
        return mean(sample.tied_Q)
