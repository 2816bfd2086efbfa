"""Median rank of text-video retrieval (MdR)."""

from typing import Any

import numpy as np

from kinetext.evaluation.metrics.base import Metric, Rivals


class MedianRank(Metric):
    """Median over queries of the rank of the matching item. The best rank is 1."""

    task, unit, higher_is_better = "captions", "rank", False

    def chance(self, sample: Any) -> float:
        return (len(sample) + 1) / 2

    def measure(self, sample: Any, rivals: Rivals | None = None) -> float:
        return float(np.median(sample.rank_Q)) if len(sample.rank_Q) else float("nan")
