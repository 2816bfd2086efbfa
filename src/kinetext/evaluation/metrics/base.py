"""The interface of a metric: a module with one class that extends `Metric`.

A tie counts as wrong: the clip's own class must score strictly higher than its competitor. A method that cannot
distinguish two classes gives both the same score, as mean-pooled frames do for a clip and its reversal. numpy's argmax
would count half of these ties as right. A clip without frames has NaN scores and counts as wrong, so that no method
gains by failing on a clip. A metric is NaN if no clip counts.

B clips, K classes.
"""

from typing import Any, ClassVar, Literal

import numpy as np

from kinetext.core.plugins import Options
from kinetext.evaluation.predictions import Predictions

Rivals = dict[str, list[str]]  # label -> its most confusable rivals; several if they are equally confusable
Unit = Literal["share", "rank", "number"]


class Metric:
    """Base class of all metrics.

    A subclass overrides `clip_values` if the metric is a mean over clips, else `measure`. `sample` is a `Predictions`
    or the result of `prepare`. For a metric of captions it is a `Ranks`, one for each direction of retrieval
    (evaluation/retrieval.py).
    """

    class Config(Options):
        """Options of the metric; by default none."""

    task: ClassVar[Literal["classes", "captions", "labels"]] = "classes"  # labels: several per clip
    unit: ClassVar[Unit] = "share"  # a share from 0 to 1 is shown in percent, a rank with one decimal
    higher_is_better: ClassVar[bool] = True
    needs_rivals: ClassVar[bool] = False  # measured once for each rule of the table `confusables`
    ordered_only: ClassVar[bool] = False  # measured with the frames in order only, not under the motion probes

    def __init__(self, config: Any = None) -> None:
        self.config: Any = self.Config() if config is None else config

    def prepare(self, predictions: Predictions) -> Any:
        """Return the sample to measure: the predictions, or the part of them that the metric needs.

        A bootstrap draws from the sample a thousand times. The sample has a length, `take(rows)` and `group_B`. It is
        None if the predictions lack what the metric needs; the metric then has no row in the table. This method is not
        called for metrics of captions and metrics that need rivals.
        """
        return predictions

    def clip_values(self, sample: Any, rivals: Rivals | None = None) -> np.ndarray | None:
        """Return the metric of each clip [B], NaN for clips that are left out; None if it is not a mean over clips.

        The interval is computed from these values. If the unit is "share", it needs no bootstrap.
        """
        return None

    def chance(self, sample: Any) -> float | None:
        """Return the expected value of the metric with random scores; None: unknown."""
        return None

    def pseudo_values(self, sample: Any, rivals: Rivals | None = None) -> np.ndarray | None:
        """Return pseudo-values [B] of clips, whose mean is the metric and varies as it does. A clip left out has NaN.

        Means over seeds and paired tests use pseudo-values. A metric that is not a mean over clips is linearised
        (influence function; Hampel 1974). None: there are no pseudo-values, and the metric is not tested.
        """
        return self.clip_values(sample, rivals)

    def measure(self, sample: Any, rivals: Rivals | None = None) -> float:
        """Return the metric of all clips; NaN if no clip counts."""
        value_B = self.clip_values(sample, rivals)
        if value_B is None:
            raise NotImplementedError(f"{type(self).__name__} defines neither clip_values nor measure")
        return mean(value_B[~np.isnan(value_B)])


def query_values(ranks: Any, value_Q: np.ndarray) -> np.ndarray:
    """Return one pseudo-value per clip [B] for the mean of `value_Q` over all queries.

    Clips have different numbers of queries, so this mean is a ratio of two sums. The pseudo-values linearise it
    (Cochran 1977), and their mean equals it.
    """
    if not len(ranks):
        return np.zeros(0)
    total_B, value = np.add.reduceat(value_Q.astype(float), ranks.start_B), mean(value_Q)
    return value + (total_B - value * ranks.count_B) * (len(ranks) / len(value_Q))


def mean(values: np.ndarray) -> float:
    """Return the mean; NaN, without numpy's warning, if there are no values."""
    return float(np.mean(values)) if len(values) else float("nan")
