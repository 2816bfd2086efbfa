"""Estimates with confidence intervals: a metric of one run, and what is computed from several estimates.

The unit of sampling is the group: the film or recording that clips were cut from, else the clip itself.

- A share of one run: Jeffreys' interval (Brown, Cai and DasGupta 2001) for the effective number of clips, value times
  (1 - value) / variance (Kish 1965; compared by Franco et al. 2019). All right is not [1, 1]. The variance is that of a
  ratio over groups (Cochran 1977) where the metric is a mean over clips, else that of a bootstrap over groups.
- A rank or another number: percentile bootstrap over groups (Efron 1979).
- Either says how far the number would move with other clips of the same kind, not with another training.
- From three seeds on, the expected value over trainings and clips: the variance between seeds, pooled over the rows of a
  table and divided by the number of seeds, is added. The quantile is Student's with Satterthwaite's (1946) degrees of
  freedom.
- Means over data sets and harmonic means: each end moves from the value by the root of the summed squares of how far it
  moves with each part alone ("square-and-add": Zou and Donner 2008; Newcombe 2001). The two sides may differ.

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
MIN_SEEDS = 3  # from here on, an estimate is about trainings; below, about the trained weights
INFINITE = float("inf")
NAN = float("nan")


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its interval; value is a mean over seeds, least and most are the range over seeds.

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
    variance: float = NAN  # over clips, of one seed
    freedom: float = INFINITE  # degrees of freedom of that variance
    groups: int = 0  # groups of clips; 0: unknown
    guessing: float | None = None  # expected value with random scores; None: unknown


class Interval(NamedTuple):
    """A confidence interval, the variance of the value over clips with its degrees of freedom, and the groups counted."""

    low: float
    high: float
    variance: float
    freedom: float
    groups: int


class SeedVariance(NamedTuple):
    """The variance between seeds of one row of a table, pooled over the rows, and its degrees of freedom."""

    variance: float
    freedom: int


def metric_interval(
    metric: Metric,
    sample: Predictions | Ranks,
    rivals: Rivals | None = None,
    group_B: np.ndarray | None = None,
    draws: int = 1000,
    seed: int = 0,
    level: float = LEVEL,
) -> Interval:
    """Return the interval of a metric over groups of clips; NaN if there is nothing to count.

    `group_B` is the number of each clip's group; None: each clip is its own. The same seed draws the same groups for
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
    """Return the variance of the mean over clips drawn by group, and its degrees of freedom.

    Groups may have different numbers of clips: the mean is a ratio (Cochran 1977). The variance is at least that of
    clips drawn one by one; NaN for a single group. Where few groups hold most of it, as with rare errors, it has few
    degrees of freedom: 2 variance^2 / (variance of the variance). They are infinite if each clip is its own group, as
    the interval then knows the distribution.
    """
    groups = int(group_B.max()) + 1
    if groups < 2:
        return NAN, NAN
    residual_B = value_B - value_B.mean()
    square_G = np.bincount(group_B, weights=residual_B) ** 2
    total = float(square_G.sum())
    variance = max(groups / (groups - 1) * total, float((residual_B**2).sum())) / len(value_B) ** 2
    if groups == len(value_B):
        return variance, INFINITE
    spread = float((square_G**2).sum()) - total**2 / groups
    freedom = 2 * total**2 / spread if spread > 0 else INFINITE
    return variance, max(1.0, min(groups - 1.0, freedom))


def share_interval(
    value: float, variance: float, freedom: float, groups: int, level: float = LEVEL
) -> tuple[float, float]:
    """Return Jeffreys' interval (low, high) of a share for its effective number of clips.

    Without any variance this is the number of groups, which takes the clips of one group as alike. With few degrees of
    freedom it is smaller, as Student's quantile is larger than the normal one (Korn and Graubard 1998).
    """
    if not 0 <= value <= 1:
        return NAN, NAN
    spread = value * (1 - value)
    clips = 1.0 if groups < 2 else spread / variance if variance > 0 and spread > 0 else float(groups)
    if 0 < freedom < INFINITE:
        clips *= float(ndtri((1 + level) / 2) / stdtrit(freedom, (1 + level) / 2)) ** 2
    right, wrong = value * clips, (1 - value) * clips
    low = float(betaincinv(right + 0.5, wrong + 0.5, (1 - level) / 2)) if value > 0 else 0.0
    high = float(betaincinv(right + 0.5, wrong + 0.5, (1 + level) / 2)) if value < 1 else 1.0
    return min(low, value), max(high, value)


def _draw_groups(group_B: np.ndarray, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Yield the clips of as many groups as there are, drawn with replacement."""
    random = np.random.default_rng(seed)
    order_B, count_G = np.argsort(group_B, kind="stable"), np.bincount(group_B)
    start_G = np.cumsum(count_G) - count_G
    for _ in range(draws):
        drawn_G = random.integers(len(count_G), size=len(count_G))
        if len(count_G) == len(order_B):
            yield order_B[drawn_G]
            continue
        count, start = count_G[drawn_G], start_G[drawn_G]
        yield order_B[np.repeat(start - (np.cumsum(count) - count), count) + np.arange(count.sum())]


def pool_seeds(rows: Sequence[Sequence[float]]) -> SeedVariance:
    """Return the variance between the seeds of a row, pooled over rows of a table that were trained repeatedly.

    Leave out rows whose seeds are one and the same: nothing was trained there.
    """
    squares = sum(float(np.var(values)) * len(values) for values in rows)
    freedom = sum(len(values) - 1 for values in rows)
    return SeedVariance(squares / freedom if freedom else 0.0, freedom)


def add_variances(clip: float, clip_freedom: float, seed: float, seed_freedom: float) -> tuple[float, float]:
    """Return the sum of the variance over clips and that over seeds, and its degrees of freedom (Satterthwaite 1946)."""
    parts = [(v, freedom) for v, freedom in ((clip, clip_freedom), (seed, seed_freedom)) if v > 0]
    total = sum(v for v, _ in parts)
    inverse = sum(v**2 / max(freedom, 1) for v, freedom in parts)
    return total, total**2 / inverse if inverse else INFINITE


def mean_over_seeds(seeds: Sequence[Estimate], between: SeedVariance | None = None) -> Estimate:
    """Return the mean over seeds.

    With one or two seeds, the interval is about these trained weights: the mean of their intervals. From three on, it is
    about the expected value over trainings: the variance `between` seeds, divided by their number, is added to the
    mean of the variances over clips, which is at least the variance of the mean. None: the seeds are one training.
    """
    count, values = len(seeds), [seed.value for seed in seeds]
    value = sum(values) / count
    low, high = (sum(getattr(seed, end) for seed in seeds) / count for end in ("low", "high"))
    if count >= MIN_SEEDS and between is not None:
        low, high = _expected_interval(seeds, value, (low, high), between)
    return replace(
        seeds[0],
        value=value,
        low=low,
        high=high,
        least=min(values),
        most=max(values),
        seeds=count,
        clips=max(seed.clips for seed in seeds),
    )


def _expected_interval(
    seeds: Sequence[Estimate], value: float, mean: tuple[float, float], between: SeedVariance
) -> tuple[float, float]:
    """Return the interval of the expected value over trainings; `mean` is the mean of the seeds' intervals."""
    groups, quantile = min(seed.groups or seed.clips for seed in seeds), float(ndtri((1 + LEVEL) / 2))
    half = (mean[1] - mean[0]) / 2
    clip = sum(seed.variance for seed in seeds) / len(seeds)
    clip = clip if clip == clip else (half / quantile) ** 2
    clip_freedom = min(seed.freedom for seed in seeds)
    total, freedom = add_variances(clip, clip_freedom, between.variance / len(seeds), between.freedom)
    if seeds[0].unit == "share":
        return share_interval(value, total, freedom, max(groups, 2))
    student = float(stdtrit(min(freedom, 1e9), (1 + LEVEL) / 2))
    spread = (student * total**0.5, half)
    return value - max(spread), value + max(spread)


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
        guessing=_combined_guessing(parts, lambda *guesses: sum(guesses) / count),
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
        guessing=_combined_guessing((base, novel), combine),
    )


def _combined_guessing(parts: Sequence[Estimate], combine: Callable[..., float]) -> float | None:
    """Return what guessing gives for a number computed from others; None if it is unknown for one of them."""
    guesses = [part.guessing for part in parts]
    return None if None in guesses else combine(*guesses)
