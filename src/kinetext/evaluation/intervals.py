"""Estimates with confidence intervals: a metric of one run, and what is computed from several estimates.

- A metric of one run: percentile bootstrap over clips (Efron 1979). It says how far the number would move with other
  clips of the same kind, not with another training.
- Means over data sets and harmonic means: each end moves from the value by the root of the summed squares of how far it
  moves with each part alone ("square-and-add": Zou and Donner 2008; Newcombe 2001). The two sides may differ.

B clips, D bootstrap draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kinetext.evaluation.metrics.base import Metric, Rivals
from kinetext.evaluation.predictions import Predictions
from kinetext.evaluation.retrieval import Ranks

LEVEL = 0.95
NAN = float("nan")


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its interval: value, low and high are means over seeds; least and most are the range over seeds.

    For a mean over several data sets, least and most are the range over the data sets.
    """

    value: float
    low: float
    high: float
    least: float
    most: float
    seeds: int
    clips: int
    datasets: int = 1
    unit: str = "share"  # of the metric: share | rank | number
    higher_is_better: bool = True


def bootstrap_interval(
    metric: Metric,
    sample: Predictions | Ranks,
    rivals: Rivals | None = None,
    draws: int = 1000,
    seed: int = 0,
    level: float = LEVEL,
) -> tuple[float, float]:
    """Return the percentile bootstrap interval (low, high) of a metric over clips; NaN if there is nothing to count.

    The same seed draws the same clips for every metric and method. A metric that is a mean over clips is computed once
    per clip and only averaged again: the same numbers, some ten times sooner.
    """
    num_clips = len(sample)
    if not num_clips:
        return NAN, NAN
    random = np.random.default_rng(seed)
    rows_D = (random.integers(num_clips, size=num_clips) for _ in range(draws))
    value_B = metric.clip_values(sample, rivals)
    if value_B is not None:
        counted_B, value_B = ~np.isnan(value_B), np.nan_to_num(value_B)
        sums = [(value_B[rows].sum(), counted_B[rows].sum()) for rows in rows_D]
        value_D = np.array([total / count if count else NAN for total, count in sums])
    else:
        value_D = np.array([metric.measure(sample.take(rows), rivals) for rows in rows_D])
    value_D = value_D[~np.isnan(value_D)]
    if not len(value_D):
        return NAN, NAN
    low, high = np.quantile(value_D, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mean_over_seeds(seeds: Sequence[Estimate]) -> Estimate:
    """Return the mean over seeds: also of the ends of their intervals, for clips are shared by the seeds."""
    count, values = len(seeds), [seed.value for seed in seeds]
    return replace(
        seeds[0],
        value=sum(values) / count,
        low=sum(seed.low for seed in seeds) / count,
        high=sum(seed.high for seed in seeds) / count,
        least=min(values),
        most=max(values),
        seeds=count,
        clips=max(seed.clips for seed in seeds),
    )


def mean_over_datasets(parts: Sequence[Estimate]) -> Estimate:
    """Return the mean of independent estimates with equal weights (Zou and Donner, Statistics in Medicine 2008)."""
    count, values = len(parts), [part.value for part in parts]
    mean = sum(values) / count
    return replace(
        parts[0],
        value=mean,
        low=mean - sum((part.value - part.low) ** 2 for part in parts) ** 0.5 / count,
        high=mean + sum((part.high - part.value) ** 2 for part in parts) ** 0.5 / count,
        least=min(values),
        most=max(values),
        seeds=min(part.seeds for part in parts),
        clips=sum(part.clips for part in parts),
        datasets=count,
    )


def harmonic_mean(base: Estimate, novel: Estimate) -> Estimate:
    """Return 2ab / (a + b) of two independent shares (interval: Newcombe, Statistics in Medicine 2001)."""

    def combine(a: float, b: float) -> float:
        return 2 * a * b / (a + b) if a + b else 0.0

    value = combine(base.value, novel.value)
    below = (value - combine(base.low, novel.value), value - combine(base.value, novel.low))
    above = (combine(base.high, novel.value) - value, combine(base.value, novel.high) - value)
    return replace(
        base,
        value=value,
        low=max(0.0, value - (below[0] ** 2 + below[1] ** 2) ** 0.5),
        high=min(1.0, value + (above[0] ** 2 + above[1] ** 2) ** 0.5),
        least=value,
        most=value,
        seeds=min(base.seeds, novel.seeds),
        clips=base.clips + novel.clips,
    )
