"""Estimates with confidence intervals: metrics of one run, means over data sets, and harmonic means.

The unit of sampling is the group: the film or recording that a clip was cut from, or the clip itself if that is
unknown.

- Proportion of one run: Jeffreys' interval (Brown, Cai and DasGupta 2001) for the effective number of clips, value
  times (1 - value) / variance (Kish 1965; compared by Franco et al. 2019). It has a width even if all clips are right.
  The variance is that of a ratio over groups (Cochran 1977) if the metric is a mean over clips, else that of a
  bootstrap over groups.
- Rank or other number of one run: percentile bootstrap over groups (Efron 1979).
- Both intervals state how far the value would vary with other clips of the same kind, not with another training.
- Mean over seeds: see seed_means.py.
- Mean over data sets and harmonic mean: "square-and-add" (Zou and Donner 2008; Newcombe 2001). The distance of a limit
  from the value is the root of the summed squares of the distances that each part causes alone. The two sides may
  differ.

B clips, G groups, D bootstrap draws.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv, ndtri, stdtrit  # scipy.stats takes a second to import

from kinetext.evaluation.metrics.base import Metric, Rivals
from kinetext.evaluation.predictions import Predictions
from kinetext.evaluation.retrieval import Ranks

LEVEL = 0.95
INFINITE = float("inf")
NAN = float("nan")


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over seeds with its confidence interval. `least` and `most` are the range over seeds.

    For a mean over several data sets, `least` and `most` are the range over data sets.
    """

    value: float
    low: float
    high: float
    least: float
    most: float
    seeds: int
    clips: int
    datasets: int = 1
    draws: int = 1  # of few-shot clips; least and most are then the range over draws
    unit: str = "share"  # of the metric: share | rank | number
    higher_is_better: bool = True
    variance: float = NAN  # over clips, of one seed
    freedom: float = INFINITE  # degrees of freedom of that variance
    groups: int = 0  # groups of clips; 0: unknown
    chance: float | None = None  # expected value with random scores; None: unknown
    base_correlation: float = 0.0  # of novel classes: correlation with base classes due to shared groups
    training: bool = False  # whether the interval also covers how much repeated training varies the value


class Interval(NamedTuple):
    """A confidence interval, the variance of the value over clips, its degrees of freedom, and the number of groups."""

    low: float
    high: float
    variance: float
    freedom: float
    groups: int


def metric_interval(
    metric: Metric,
    sample: Predictions | Ranks,
    rivals: Rivals | None = None,
    group_B: np.ndarray | None = None,
    draws: int = 1000,
    seed: int = 0,
    level: float = LEVEL,
) -> Interval:
    """Return the confidence interval of a metric over groups of clips; NaN if no clip counts.

    `group_B` is the number of each clip's group; None: each clip is a group. The same `seed` draws the same groups for
    every metric and method.
    """
    value_B = metric.clip_values(sample, rivals)
    group_B = np.arange(len(sample)) if group_B is None else group_B
    if value_B is not None:
        counted_B = ~np.isnan(value_B)
        value_B, group_B = value_B[counted_B], group_B[counted_B]
    group_B = np.unique(group_B, return_inverse=True)[1]
    groups = int(group_B.max()) + 1 if len(group_B) else 0
    if not groups:
        return Interval(NAN, NAN, NAN, NAN, 0)
    if value_B is not None and metric.unit == "share":
        variance, freedom = mean_variance(value_B, group_B)
        ends = share_interval(float(value_B.mean()), variance, freedom, groups, level)
        return Interval(*ends, variance, freedom, groups)
    rows_D = _draw_groups(group_B, draws, seed)
    if value_B is not None:
        value_D = np.array([value_B[rows].mean() for rows in rows_D])
    else:
        value_D = np.array([metric.measure(sample.take(rows), rivals) for rows in rows_D])
    value_D = value_D[~np.isnan(value_D)]
    if len(value_D) < 2:
        return Interval(NAN, NAN, NAN, NAN, groups)
    variance, freedom = float(value_D.var(ddof=1)), groups - 1.0 if groups < len(sample) else INFINITE
    if metric.unit == "share":
        ends = share_interval(metric.measure(sample, rivals), variance, freedom, groups, level)
        return Interval(*ends, variance, freedom, groups)
    low, high = np.quantile(value_D, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), variance, freedom, groups)


def mean_variance(value_B: np.ndarray, group_B: np.ndarray) -> tuple[float, float]:
    """Return the variance of the mean over clips that are sampled by group, then its degrees of freedom.

    Groups may have different numbers of clips, so the mean is a ratio (Cochran 1977). The variance is at least that of
    clips sampled one by one. If a few groups hold most of the variance, as with rare errors, it has few degrees of
    freedom: 2 variance^2 / (variance of the variance). They are infinite if each clip is a group and each value is 0 or
    1, because Jeffreys' interval then assumes the right distribution. Both are NaN for a single group.
    """
    groups = int(group_B.max()) + 1
    if groups < 2:
        return NAN, NAN
    residual_B = value_B - value_B.mean()
    square_G = np.bincount(group_B, weights=residual_B) ** 2
    total = float(square_G.sum())
    variance = max(groups / (groups - 1) * total, float((residual_B**2).sum())) / len(value_B) ** 2
    if groups == len(value_B) and bool(((value_B == 0) | (value_B == 1)).all()):
        return variance, INFINITE
    spread = float((square_G**2).sum()) - total**2 / groups
    freedom = 2 * total**2 / spread if spread > 0 else INFINITE
    return variance, max(1.0, min(groups - 1.0, freedom))


def share_interval(
    value: float, variance: float, freedom: float, groups: int, level: float = LEVEL
) -> tuple[float, float]:
    """Return Jeffreys' interval (low, high) of a proportion for its effective number of clips.

    If the variance or `value` (1 - `value`) is 0, the effective number is the number of groups, as if the clips of a
    group were equal. Otherwise few degrees of freedom of the variance reduce it, because Student's quantile is larger
    than the normal quantile (Korn and Graubard 1998). NaN if `value` is not between 0 and 1.
    """
    if not 0 <= value <= 1:
        return NAN, NAN
    spread = value * (1 - value)
    known = variance > 0 and spread > 0
    clips = 1.0 if groups < 2 else spread / variance if known else float(groups)
    if known and 0 < freedom < INFINITE:
        clips *= float(ndtri((1 + level) / 2) / stdtrit(freedom, (1 + level) / 2)) ** 2
    right, wrong = value * clips, (1 - value) * clips
    low = float(betaincinv(right + 0.5, wrong + 0.5, (1 - level) / 2)) if value > 0 else 0.0
    high = float(betaincinv(right + 0.5, wrong + 0.5, (1 + level) / 2)) if value < 1 else 1.0
    return min(low, value), max(high, value)


def _draw_groups(group_B: np.ndarray, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Yield bootstrap samples: the clip indices of G groups that are drawn with replacement."""
    random = np.random.default_rng(seed)
    order_B, count_G = np.argsort(group_B, kind="stable"), np.bincount(group_B)
    start_G = np.cumsum(count_G) - count_G
    for _ in range(draws):
        sample_G = random.integers(len(count_G), size=len(count_G))
        if len(count_G) == len(order_B):
            yield order_B[sample_G]
            continue
        count, start = count_G[sample_G], start_G[sample_G]
        yield order_B[np.repeat(start - (np.cumsum(count) - count), count) + np.arange(count.sum())]


def mean_over_datasets(parts: Sequence[Estimate], overlap_DD: np.ndarray | None = None) -> Estimate:
    """Return the mean of the estimates of D data sets with equal weights (Zou and Donner, Statistics in Medicine 2008).

    `overlap_DD` is the correlation of the data sets' means that is due to shared clips (overlap.py); None: no shared
    clips. The trainings of the data sets must be independent, or the intervals must be about the trained weights.
    """
    count, values = len(parts), [part.value for part in parts]
    mean = sum(values) / count
    overlap_DD = np.eye(count) if overlap_DD is None else overlap_DD
    below_D, above_D = (np.array([abs(getattr(p, end) - p.value) for p in parts]) for end in ("low", "high"))
    return replace(
        parts[0],
        value=mean,
        low=mean - float(below_D @ overlap_DD @ below_D) ** 0.5 / count,
        high=mean + float(above_D @ overlap_DD @ above_D) ** 0.5 / count,
        least=min(values),
        most=max(values),
        seeds=min(part.seeds for part in parts),
        clips=sum(part.clips for part in parts),
        datasets=count,
        chance=_combined_chance(parts, lambda *levels: sum(levels) / count),
        base_correlation=sum(part.base_correlation for part in parts) / count,
        training=any(part.training for part in parts),
    )


def harmonic_mean(base: Estimate, novel: Estimate) -> Estimate:
    """Return the harmonic mean 2ab / (a + b) of two accuracies, with an interval.

    If an interval is about clips only, the accuracies are independent, because they are measured on different clips
    (Newcombe, Statistics in Medicine 2001), except for `novel.base_correlation` (Zou and Donner 2008). If both intervals
    also cover training, which affects both accuracies, their widths are added. This is wide enough for any correlation.
    """
    correlation = 1.0 if base.training and novel.training else novel.base_correlation

    def combine(a: float, b: float) -> float:
        return 2 * a * b / (a + b) if a + b else 0.0

    value = combine(base.value, novel.value)
    below = (value - combine(base.low, novel.value), value - combine(base.value, novel.low))
    above = (combine(base.high, novel.value) - value, combine(base.value, novel.high) - value)

    def width(a: float, b: float) -> float:
        return max(0.0, a**2 + b**2 + 2 * correlation * a * b) ** 0.5

    return replace(
        base,
        value=value,
        low=max(0.0, value - width(*below)),
        high=min(1.0, value + width(*above)),
        least=value,
        most=value,
        seeds=min(base.seeds, novel.seeds),
        clips=base.clips + novel.clips,
        chance=_combined_chance((base, novel), combine),
        training=base.training and novel.training,
    )


def _combined_chance(parts: Sequence[Estimate], combine: Callable[..., float]) -> float | None:
    """Return the chance level of a combination of estimates; None if the chance level of one of them is unknown."""
    levels = [part.chance for part in parts]
    return None if None in levels else combine(*levels)
