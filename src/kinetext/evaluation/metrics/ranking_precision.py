"""Label ranking average precision (LRAP) of clips with several labels each."""

from typing import Any

import numpy as np

from kinetext.evaluation.average_precision import ranking_precisions
from kinetext.evaluation.metrics.base import Metric, Rivals


class RankingPrecision(Metric):
    """Mean over clips of the average precision of its labels among all classes (Tsoumakas et al. 2010).

    The one metric of several labels that is a mean over clips, so paired tests use it. A clip without frames counts as
    one whose classes all have the same score.
    """

    task = "labels"

    def clip_values(self, sample: Any, rivals: Rivals | None = None) -> np.ndarray:
        return ranking_precisions(sample.scores_BK, sample.labels_BK)
