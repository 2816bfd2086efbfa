"""Means over seeds with confidence intervals.

The value of seed s on clip c is y_sc = mu + a_s + b_c + e_sc: a_s is due to training, b_c to the clip, and e_sc to
both. A mean over S seeds and N clips has the variance

    var(a) / S  +  var(b) / N + var(e) / (S N)

- The first term is due to training. It is estimated as (variance between the means of seeds - var(e) / N) / S, at least
  0. The subtraction is needed because clips react differently to two trainings, which also changes the means of seeds.
  Both variances are pooled over the rows of a table.
- The other two terms are due to clips. Together they are the variance of the clips' values averaged over seeds, by
  group of clips (intervals.py).
- The quantile is Student's, with degrees of freedom after Satterthwaite (1946).
- With one or two seeds the interval is about the trained weights, and the first term is left out.

S seeds, B clips, G groups.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtri, stdtrit  # scipy.stats takes a second to import

from kinetext.evaluation.intervals import INFINITE, LEVEL, NAN, Estimate, mean_variance, share_interval
from kinetext.evaluation.metrics import unit_of

POWER = 1.5
FAR = 2  # ratio of p (1 - p) from which a row's variance between seeds is not that of the other rows
MIN_SEEDS = 3  # from here on, an estimate is about trainings; below, about the trained weights


class ClipParts(NamedTuple):
    """What clips add to the variance of a mean over seeds, and to the variance of one seed."""

    variance: float  # of the mean over seeds, over groups of clips
    freedom: float  # degrees of freedom of that variance
    interaction: float  # var(e) / N: of the mean of one seed beside a_s, with the same clips
    groups: int


class SeedVariance(NamedTuple):
    """The variance between the means of seeds, pooled over the rows of a table, and its degrees of freedom."""

    variance: float
    freedom: int
    interaction: float = 0.0  # the part of it that is due to clips
    spread: float = 0.0  # median of p (1 - p) over the rows, if p is a share; else 0
    pooled: bool = True  # over the rows of a table; else the variance of one row

    def for_row(self, shares: Sequence[float], interaction: float) -> "SeedVariance":
        """Return the variance for one row. `shares` are its means of seeds, `interaction` is what its clips add.

        The pooled variance is that of rows with like accuracy: training may vary a share near 1 less than one near .5
        (docs/decisions/028). A row with more than FAR times `spread` has its own variance, with its own degrees of
        freedom. A row with less than 1 / FAR of it has its part, in proportion to p (1 - p), but at least its own
        variance: near 1 the seeds may be equal by chance.
        """
        mean, of_seeds = float(np.mean(shares)), float(np.var(shares, ddof=1))
        part = mean * (1 - mean) / self.spread if self.spread else 1.0  # spread is 0 for other metrics than shares
        if part > FAR or (part < 1 / FAR and of_seeds > part * self.variance):
            return SeedVariance(of_seeds, len(shares) - 1, min(interaction, of_seeds), pooled=False)
        if part < 1 / FAR:
            return self._replace(variance=part * self.variance, interaction=part * self.interaction)
        return self

    def of_mean(self, seeds: int) -> float:
        """Return the part of the variance of a mean over seeds that is due to training."""
        return max(0.0, self.variance - self.interaction) / seeds


NO_TRAINING = SeedVariance(0.0, 0)  # of intervals about trained weights


def clip_parts(value_SB: np.ndarray, group_B: np.ndarray | None = None) -> ClipParts:
    """Return the parts of variances that are due to clips.

    `group_B` is the number of each clip's group. If it is None, each clip is a group.
    """
    S, B = value_SB.shape
    number_B = np.arange(B) if group_B is None else np.unique(group_B, return_inverse=True)[1]
    groups = int(number_B.max()) + 1 if B else 0
    if groups < 2:
        return ClipParts(NAN, NAN, 0.0, groups)
    interaction, mean_B = 0.0, value_SB.mean(axis=0)
    if S > 1:
        deviation_SB = value_SB - mean_B
        sum_SG = deviation_SB - deviation_SB.mean(axis=1, keepdims=True)
        if group_B is not None:  # else each clip is its group's sum
            sum_SG = np.stack([np.bincount(number_B, weights=deviation_B) for deviation_B in sum_SG])
        interaction = float(np.vdot(sum_SG, sum_SG)) / (S - 1) * groups / (groups - 1) / B**2
    return ClipParts(*mean_variance(mean_B, number_B), interaction, groups)


def pool_seeds(rows: Sequence[Sequence[float]], interactions: Sequence[float] = ()) -> SeedVariance:
    """Return the variance between the seeds of a row, pooled over rows of a table that were trained repeatedly.

    `rows` has the mean of each seed. `interactions` has ClipParts.interaction of each row; if it is empty, it counts as
    0. Leave out rows whose seeds are one training, or none. Of shares, only rows are pooled whose p (1 - p) is within
    FAR times the median of the rows: rows of other accuracies may vary differently between seeds.
    """
    interaction_N = np.asarray(interactions, float) if len(interactions) else np.zeros(len(rows))
    spread_N = _spreads(rows)
    spread = float(np.median(spread_N[spread_N > 0])) if spread_N.any() else 0.0
    near_N = (spread_N >= spread / FAR) & (spread_N <= spread * FAR)
    freedom_N = np.array([len(values) - 1 for values in rows])[near_N]
    if not freedom_N.sum():
        return SeedVariance(0.0, 0, 0.0, spread)
    variance_N = np.array([np.var(values, ddof=1) if len(values) > 1 else 0.0 for values in rows])[near_N]
    variance, interaction = (
        float(np.average(part_N, weights=freedom_N)) for part_N in (variance_N, interaction_N[near_N])
    )
    return SeedVariance(variance, int(freedom_N.sum()), interaction, spread)


def _spreads(rows: Sequence[Sequence[float]]) -> np.ndarray:
    """Return p (1 - p) of the mean p of each row; 0 for all rows if the values are not shares."""
    means = np.array([float(np.mean(values)) for values in rows])
    return means * (1 - means) if ((means >= 0) & (means <= 1)).all() else np.zeros(len(means))


def average_parts(parts_D: Sequence[ClipParts], fixed: Estimate) -> ClipParts:
    """Return the parts of the variance of a mean over D data sets and over seeds that are due to clips.

    All data sets test the same trainings.

    `fixed` is this mean with an interval about the trained weights. The variance due to clips and training together is
    assumed to be independent between data sets, which is cautious if these share clips.
    """
    half, count = (fixed.high - fixed.low) / 2, len(parts_D)
    variance = (half / float(ndtri((1 + LEVEL) / 2))) ** 2
    interaction = sum(parts.interaction for parts in parts_D) / count**2
    return ClipParts(variance, INFINITE, interaction, count * min(parts.groups for parts in parts_D))


def add_variances(clip: float, clip_freedom: float, between: SeedVariance, seeds: int) -> tuple[float, float]:
    """Return the variance of a mean over seeds and clips, then its degrees of freedom (see `inverse_freedom`).

    `clip` is the variance that is due to clips, with `clip_freedom` degrees of freedom. If training adds variance, the
    degrees of freedom follow from the whole variance between seeds, including the part that is due to clips.
    """
    training = between.of_mean(seeds)
    total = clip + training
    if not total:
        return total, INFINITE
    inverse = (clip / total) ** 2 / max(clip_freedom, 1)
    if training:
        inverse += float(inverse_freedom(between.variance / seeds / total, between.freedom))
    return total, 1 / inverse if inverse else INFINITE


def inverse_freedom(share: Any, freedom: float) -> Any:
    """Return what the variance between seeds adds to 1 / (degrees of freedom).

    `share` is its fraction of the total variance, and `freedom` are its degrees of freedom. Satterthwaite's formula
    (1946) has the square of the fraction. With the two degrees of freedom of three seeds it gives too many: in a
    simulation with normal values, intervals of means over 3 seeds covered down to 92.2 % if training adds 8 times as
    much as clips. With the power 1.5 they cover 93.1 to 96.8 % at any such ratio (docs/decisions/028). A fraction above 1
    counts as 1: the variance is pooled over rows, and that of a row near 0 or 1 is smaller.
    """
    return np.minimum(share, 1.0) ** POWER / max(freedom, 1)


def mean_over_seeds(
    seeds: Sequence[Estimate], between: SeedVariance | None = None, parts: ClipParts | None = None
) -> Estimate:
    """Return the mean over seeds with its interval.

    `between` is the variance between seeds, pooled over the table; None if the seeds are one training. `parts` is what
    clips add; None if unknown. If `parts` is unknown, the interval for two seeds is the mean of the seeds' intervals.
    With three or more seeds, the mean of the seeds' variances over clips is then used, so the interval is too wide.
    """
    count, values = len(seeds), [seed.value for seed in seeds]
    value = sum(values) / count
    low, high = (sum(getattr(seed, end) for seed in seeds) / count for end in ("low", "high"))
    training = any(seed.training for seed in seeds)
    if count > 1 and between is not None and (count >= MIN_SEEDS or parts is not None):
        low, high = _interval(seeds, value, (low, high), between, parts)
        training = count >= MIN_SEEDS
    return replace(
        seeds[0],
        value=value,
        low=low,
        high=high,
        least=min(values),
        most=max(values),
        seeds=count,
        clips=max(seed.clips for seed in seeds),
        base_correlation=sum(seed.base_correlation for seed in seeds) / count,
        training=training,
    )


def _interval(
    seeds: Sequence[Estimate],
    value: float,
    mean_ends: tuple[float, float],
    between: SeedVariance,
    parts: ClipParts | None,
) -> tuple[float, float]:
    """Return the interval of a mean over seeds. `mean_ends` are the mean limits of the seeds' intervals."""
    half, quantile = (mean_ends[1] - mean_ends[0]) / 2, float(ndtri((1 + LEVEL) / 2))
    groups = parts.groups if parts else min(seed.groups or seed.clips for seed in seeds)
    clip = parts.variance if parts else sum(seed.variance for seed in seeds) / len(seeds)
    clip_freedom = parts.freedom if parts else min(seed.freedom for seed in seeds)
    if clip != clip:
        clip, clip_freedom = (half / quantile) ** 2, INFINITE
    total, freedom = clip, clip_freedom
    if len(seeds) >= MIN_SEEDS:
        if seeds[0].unit == "share":
            between = between.for_row([seed.value for seed in seeds], parts.interaction if parts else 0.0)
        total, freedom = add_variances(clip, clip_freedom, between, len(seeds))
    if seeds[0].unit == "share":
        return share_interval(value, total, freedom, max(groups, 2))
    spread = float(stdtrit(min(freedom, 1e9), (1 + LEVEL) / 2)) * total**0.5
    spread = spread if parts else max(spread, half)
    return value - spread, value + spread


def estimate_of_run(row: Mapping[str, Any]) -> Estimate:
    """Return a row of the table `metrics` as an estimate of one seed."""
    return Estimate(
        value=row["value"],
        low=row["low"],
        high=row["high"],
        least=row["value"],
        most=row["value"],
        seeds=1,
        clips=row["clips"],
        unit=row.get("unit") or unit_of(row["metric"]),
        higher_is_better=row.get("higher_is_better") is not False,
        variance=NAN if row.get("variance") is None else row["variance"],
        freedom=INFINITE if row.get("freedom") is None else row["freedom"],
        groups=row.get("groups") or 0,
        chance=row.get("chance"),
        base_correlation=row.get("base_correlation") or 0.0,
    )
