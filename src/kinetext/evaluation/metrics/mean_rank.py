"""Mean rank of text-video retrieval (MnR)."""

from typing import Any

import numpy as np

from kinetext.evaluation.metrics.base import Metric, Rivals, mean, query_values


class MeanRank(Metric):
    """Mean over queries of the rank of the matching item. The best rank is 1."""

    task, unit, higher_is_better = "captions", "rank", False

    def chance(self, sample: Any) -> float:
        return (len(sample) + 1) / 2

    def pseudo_values(self, sample: Any, rivals: Rivals | None = None) -> np.ndarray:
        return query_values(sample, sample.rank_Q)

    def measure(self, sample: Any, rivals: Rivals | None = None) -> float:
        return mean(sample.rank_Q)
