"""Label ranking average precision (LRAP) of clips with several labels each."""

from typing import Any

import numpy as np

from kinetext.evaluation.average_precision import chance_precisions, ranking_precisions
from kinetext.evaluation.metrics.base import Metric, Rivals, mean


class RankingPrecision(Metric):
    """Label ranking average precision of each clip, averaged over clips (Tsoumakas et al. 2010).

    It is the only metric for clips with several labels that is a mean over clips, so paired tests use it. All classes
    of a clip without frames count as tied.
    """

    task = "labels"

    def chance(self, sample: Any) -> float:
        count_B = sample.labels_BK.sum(axis=1)
        return mean(chance_precisions(count_B[count_B > 0], len(sample.labels)))

    def clip_values(self, sample: Any, rivals: Rivals | None = None) -> np.ndarray:
        return ranking_precisions(sample.scores_BK, sample.labels_BK)
