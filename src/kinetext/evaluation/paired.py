"""Differences between rows of a comparison on the same clips: intervals, and tests corrected for all pairs of rows.

- With one or two seeds per row, the results are about the trained weights. With three or more, they are about methods:
  the variance of a mean over seeds that is due to training is added to the variance over clips (seed_means.py). A
  row in which nothing trains needs one seed only.
- Interval: Student's t with the variance of the mean difference over groups of clips and Satterthwaite's degrees of
  freedom. One clip on which the rows differ is added (after Agresti and Min 2005), so that the interval of equal rows
  is wider than 0.
- p: two-sided permutation test of paired samples (Fisher 1935), as
  scipy.stats.permutation_test(permutation_type="samples") for one pair. If two rows are equally good, the difference of
  each group could as well have the opposite sign. All sign patterns are used if there are at most PERMUTATIONS, else
  PERMUTATIONS random ones, with the observed pattern counted among them (Phipson and Smyth 2010). Tests about methods
  use random patterns. Each of these also draws what training adds to each row, and an estimate of the variance between
  seeds.
- Correction: the largest |t| of all pairs of rows under the same patterns ("max-T": Westfall and Young 1993). It counts
  every pair, so the reference row may be chosen after seeing the results, as the best row is.
- Several data sets: the mean of the differences. Signs are flipped within each data set.

N rows have N (N - 1) / 2 pairs. A mean under flipped signs is linear in the values, so one matrix product gives the
means of all rows. A pair is the difference of two columns of the product.

B clips, G groups, N rows, P sign patterns.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit  # scipy.stats takes a second to import

from kinetext.evaluation.intervals import LEVEL, Estimate
from kinetext.evaluation.seed_means import MIN_SEEDS, SeedVariance, inverse_freedom, pool_seeds

PERMUTATIONS = 9999
CHUNK = 250  # patterns at a time: 40 MB with 20 000 groups
ALPHA = 0.05
MAX_FREEDOM = 1e6  # degrees of freedom of a variance that is known to be 0
CLOSE = 1e-9  # patterns with the same |t| must count as equal, whatever the order of summation


@dataclass(frozen=True, kw_only=True)
class Difference(Estimate):
    """One row minus another on the same clips, with the p-values before and after correction for all pairs."""

    p: float
    corrected_p: float
    methods: bool = False  # whether the test is about methods; else about these trained weights
    seed_range: float | None = None  # largest difference between two seeds of one row of the comparison

    @property
    def significant(self) -> bool:
        """Whether the rows differ significantly after correction for all pairs of rows."""
        return self.corrected_p <= ALPHA


@dataclass(frozen=True)
class PairedRows:
    """The rows of a comparison on the same clips of one data set."""

    value_BN: np.ndarray  # of each clip, averaged over seeds
    group_B: np.ndarray | None = None  # number of each clip's group; None: each clip is its own
    seed_values: Sequence[Sequence[float]] = ()  # of each row, the mean of each seed; empty: one seed each
    trained_N: np.ndarray | None = None  # whether the seeds of a row differ; None: all do
    interaction_N: np.ndarray | None = None  # of each row, what clips add to the variance between seeds; None: 0
    clip_ids: Sequence[str] = ()
    untrained_N: np.ndarray | None = None  # rows in which nothing trains, which need one seed only; None: no such row

    def take(self, keep_B: np.ndarray) -> "PairedRows":
        """Return the rows on the clips that `keep_B` selects, without values of single seeds."""
        return PairedRows(self.value_BN[keep_B], None if self.group_B is None else self.group_B[keep_B])

    def group_sums(self) -> np.ndarray:
        """Return the sums [G, N] of the values over the clips of each group."""
        if self.group_B is None:
            return self.value_BN
        number_B = np.unique(self.group_B, return_inverse=True)[1]
        return np.stack([np.bincount(number_B, weights=value_B) for value_B in self.value_BN.T], axis=1)

    def centred(self) -> "PairedRows":
        """Return the rows, each shifted to mean 0, without values of single seeds."""
        return PairedRows(self.value_BN - self.value_BN.mean(axis=0), self.group_B)

    def fewest_seeds(self) -> float:
        """Return the smallest number of seeds of a trained row; infinite if no row is trained."""
        untrained_N = np.zeros(len(self.seed_values), bool) if self.untrained_N is None else self.untrained_N
        counts = (len(values) for values, untrained in zip(self.seed_values, untrained_N, strict=True) if not untrained)
        return min(counts, default=np.inf)

    def seed_variances(self) -> tuple[list[SeedVariance], np.ndarray]:
        """Return the variance between seeds of each row, and the number of trainings [N] behind each row's mean.

        The variance is that of `SeedVariance.for_row`: pooled over the rows, or a row's own. The number is infinite for
        a row that was trained once for all of its seeds.
        """
        trained_N = np.ones(len(self.seed_values), bool) if self.trained_N is None else self.trained_N
        interaction_N = np.zeros(len(trained_N)) if self.interaction_N is None else self.interaction_N
        between = pool_seeds(
            [values for values, yes in zip(self.seed_values, trained_N, strict=True) if yes], interaction_N[trained_N]
        )
        rows = zip(self.seed_values, interaction_N.tolist(), trained_N, strict=True)
        variances = [between.for_row(values, part) if yes else between for values, part, yes in rows]
        num_seeds_N = np.array([float(len(values)) for values in self.seed_values])
        return variances, np.where(trained_N, num_seeds_N, np.inf)


def about_methods(strata: Sequence[PairedRows]) -> bool:
    """Return whether every row has at least MIN_SEEDS seeds or is not trained, so that the results are about methods."""
    return all(stratum.seed_values and stratum.fewest_seeds() >= MIN_SEEDS for stratum in strata)


def seed_range(strata: Sequence[PairedRows]) -> float | None:
    """Return the largest difference between two seeds of one row; None if no row has two seeds."""
    ranges = [max(values) - min(values) for stratum in strata for values in stratum.seed_values if len(values) > 1]
    return max(ranges, default=None)


@dataclass(frozen=True)
class Training:
    """What training adds to the variance of each row, over all data sets together.

    Rows share an estimate of the variance between seeds, or have one of their own. E estimates, the shared one first.
    """

    variance_N: np.ndarray  # of each row's mean
    noise_N: np.ndarray  # likewise with what clips add to the variance between seeds, which varies as a whole
    freedom_E: np.ndarray  # degrees of freedom of each estimate
    estimate_N: np.ndarray  # the number of each row's estimate

    @classmethod
    def of(cls, strata: Sequence[PairedRows]) -> "Training":
        """Return what training adds to the variances; 0 if a trained row has fewer than MIN_SEEDS seeds."""
        rows = strata[0].value_BN.shape[1]
        zero_N = np.zeros(rows)
        if not about_methods(strata):
            return cls(zero_N, zero_N, np.ones(1), zero_N.astype(int))
        share = 1 / len(strata) ** 2
        variance_N, noise_N, squares_N, pooled_N = zero_N.copy(), zero_N.copy(), zero_N.copy(), np.ones(rows, bool)
        for stratum in strata:
            variances, seeds_N = stratum.seed_variances()
            part_N = share * np.array([one.variance for one in variances]) / seeds_N
            variance_N += share * np.array([one.of_mean(1) for one in variances]) / seeds_N
            noise_N += part_N
            squares_N += part_N**2 / np.maximum([one.freedom for one in variances], 1)
            pooled_N &= [one.pooled for one in variances]
        freedom_N = np.divide(
            noise_N**2, squares_N, out=np.full(rows, MAX_FREEDOM), where=squares_N > 0
        )  # Satterthwaite
        shared = float(np.min(freedom_N[pooled_N], initial=MAX_FREEDOM))
        return cls(
            variance_N, noise_N, np.append(shared, freedom_N[~pooled_N]), np.where(pooled_N, 0, np.cumsum(~pooled_N))
        )

    def of_pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Return `variance` and `noise` [N, N] of the difference between every two rows."""
        variance_NN, noise_NN = (_off_diagonal(part_N[:, None] + part_N) for part_N in (self.variance_N, self.noise_N))
        return variance_NN, noise_NN

    def inverse_freedom(self, total_NN: np.ndarray) -> np.ndarray:
        """Return what the variance between seeds adds to 1 / (degrees of freedom) of each difference [N, N].

        `total_NN` is the whole variance of each difference. Two rows with the same estimate add up before.
        """
        inverse_NN = np.zeros_like(total_NN)
        for number, freedom in enumerate(self.freedom_E):
            part_N = np.where(self.estimate_N == number, self.noise_N, 0.0)
            inverse_NN += inverse_freedom(_off_diagonal(part_N[:, None] + part_N) / total_NN, freedom)
        return inverse_NN

    def draw(self, random: np.random.Generator, patterns: int) -> np.ndarray:
        """Return random estimates [P, N] of `noise_N`, as they vary between studies."""
        scale_PE = random.chisquare(self.freedom_E, size=(patterns, len(self.freedom_E))) / self.freedom_E
        return scale_PE[:, self.estimate_N] * self.noise_N


def compare_rows(
    strata: Sequence[PairedRows], seed: int = 0, merged: PairedRows | None = None
) -> dict[str, np.ndarray]:
    """Return "value", "low", "high", "p" and "corrected_p" of every row minus every other row, each [N, N].

    `strata` has one item for each data set, all with the same rows. `merged` is all data sets as one sample; pass it if
    they share clips (overlap.py). The diagonal of "value" is 0, and that of the p-values is 1.
    """
    training = Training.of(strata)
    strata = [merged] if merged else strata
    mean_N = np.mean([stratum.value_BN.mean(axis=0) for stratum in strata], axis=0)
    value_NN = mean_N[:, None] - mean_N
    half_NN = _half_width(strata, training)
    flipped_PN = flipped_means(strata, seed, exact=not training.noise_N.any())
    p_NN, corrected_NN = pair_p_values(value_NN, null_variances(strata), flipped_PN, training, seed)
    ends = {"low": value_NN - half_NN, "high": value_NN + half_NN}
    return {"value": value_NN, **ends, "p": p_NN, "corrected_p": corrected_NN}


def _half_width(strata: Sequence[PairedRows], training: Training) -> np.ndarray:
    """Return half the width [N, N] of the interval of each difference."""
    total_NN, _ = training.of_pairs()
    parts = []
    for stratum in strata:
        sum_GN, num_clips = stratum.centred().group_sums(), len(stratum.value_BN)
        by_group_NN = _pair_squares(sum_GN) * len(sum_GN) / max(1, len(sum_GN) - 1)
        by_clip_NN = _pair_squares(stratum.value_BN - stratum.value_BN.mean(axis=0))
        one_more_NN = _off_diagonal(np.ones_like(by_clip_NN))
        part_NN = (np.maximum(by_group_NN, by_clip_NN) + one_more_NN) / (num_clips * len(strata)) ** 2
        parts.append((part_NN, max(1, len(sum_GN) - 1)))
        total_NN = total_NN + part_NN
    whole_NN = np.where(total_NN > 0, total_NN, 1.0)
    inverse_NN = training.inverse_freedom(whole_NN)
    inverse_NN = inverse_NN + sum((part_NN / whole_NN) ** 2 / freedom for part_NN, freedom in parts)
    freedom_NN = 1 / np.where(inverse_NN > 0, inverse_NN, 1.0)
    return stdtrit(freedom_NN, (1 + LEVEL) / 2) * np.sqrt(total_NN)


def null_variances(strata: Sequence[PairedRows]) -> np.ndarray:
    """Return the variance [N, N] over groups of each difference, taken about 0. Flipping signs does not change it."""
    squares = [_pair_squares(stratum.group_sums()) / len(stratum.value_BN) ** 2 for stratum in strata]
    return np.sum(squares, axis=0) / len(strata) ** 2


def _pair_squares(sum_GN: np.ndarray) -> np.ndarray:
    """Return the sum over groups of the squared difference between every two rows [N, N]."""
    product_NN = sum_GN.T @ sum_GN
    square_N = np.diag(product_NN)
    square_NN = square_N[:, None] + square_N - 2 * product_NN
    return np.where(square_NN > 1e-9 * (square_N[:, None] + square_N), square_NN, 0.0)  # else rounding


def _off_diagonal(value_NN: np.ndarray) -> np.ndarray:
    return np.where(np.eye(len(value_NN), dtype=bool), 0.0, value_NN)


def flipped_means(strata: Sequence[PairedRows], seed: int, exact: bool = True) -> np.ndarray:
    """Return the mean [P, N] of each row under sign patterns of the groups.

    All patterns are used if `exact` and there are at most PERMUTATIONS, else PERMUTATIONS random ones.
    """
    sums = [stratum.group_sums() for stratum in strata]
    scales = [1 / (len(stratum.value_BN) * len(strata)) for stratum in strata]
    chunks = []
    for signs in _signs([len(sum_GN) for sum_GN in sums], seed, exact):
        chunks.append(sum(sign @ sum_GN * scale for sign, sum_GN, scale in zip(signs, sums, scales, strict=True)))
    return np.concatenate(chunks)


def pair_p_values(
    value_NN: np.ndarray, null_NN: np.ndarray, flipped_PN: np.ndarray, training: Training, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the p-values [N, N] of all pairs of rows, first of each pair alone, then corrected for all pairs.

    Under each sign pattern, the means of rows also vary by what training adds, and the variance between seeds varies as
    an estimate does. Large differences are therefore likely if there are few seeds.
    """
    rows, exact = len(value_NN), len(flipped_PN) < PERMUTATIONS
    trained_NN, noise_NN = training.of_pairs()
    total_NN = null_NN + trained_NN
    noise_PN = training.noise_N[None]
    if noise_NN.any():
        random = np.random.default_rng([seed, 1])
        flipped_PN = flipped_PN + random.normal(size=flipped_PN.shape) * np.sqrt(training.variance_N)
        noise_PN = training.draw(random, len(flipped_PN))
    known_NN = np.maximum(total_NN - noise_NN, 0.0)
    t_NN = np.abs(value_NN) / np.sqrt(np.maximum(total_NN, 1e-300))
    most_P, p_NN = np.zeros(len(flipped_PN)), np.ones((rows, rows))

    def share(far: np.ndarray) -> np.ndarray:
        return far.mean(axis=0) if exact else (far.sum(axis=0) + 1) / (len(far) + 1)

    for a in range(rows - 1):
        others = slice(a + 1, rows)
        pair_PN = known_NN[a, others] + noise_PN[:, a, None] + noise_PN[:, others]
        t_PN = np.abs(flipped_PN[:, a, None] - flipped_PN[:, others]) / np.sqrt(np.maximum(pair_PN, 1e-300))
        t_PN = np.where(pair_PN > 0, t_PN, 0.0)
        most_P = np.maximum(most_P, t_PN.max(axis=1))
        p_NN[a, others] = p_NN[others, a] = share(t_PN >= t_NN[a, others] * (1 - CLOSE))
    order_P = np.sort(most_P)
    num_far_NN = len(order_P) - np.searchsorted(order_P, t_NN * (1 - CLOSE))
    corrected_NN = num_far_NN / len(order_P) if exact else (num_far_NN + 1) / (len(order_P) + 1)
    corrected_NN = np.where(np.eye(rows, dtype=bool), 1.0, np.maximum(corrected_NN, p_NN))
    return p_NN, corrected_NN


def _signs(sizes: Sequence[int], seed: int, exact: bool) -> Iterator[list[np.ndarray]]:
    """Yield chunks of sign patterns: one array [P, G] of +1 and -1 for each data set."""
    total, ends = sum(sizes), np.cumsum(sizes)
    if exact and 2**total <= PERMUTATIONS:
        number_P = np.arange(2**total)
        sign_PG = 1.0 - 2.0 * (number_P[:, None] >> np.arange(total) & 1)
        yield np.split(sign_PG, ends[:-1], axis=1)
        return
    random = np.random.default_rng([seed, PERMUTATIONS])
    for first in range(0, PERMUTATIONS, CHUNK):
        sign_PG = 1.0 - 2.0 * random.integers(0, 2, size=(min(CHUNK, PERMUTATIONS - first), total), dtype=np.int8)
        yield np.split(sign_PG, ends[:-1], axis=1)


def holm(p: Sequence[float]) -> list[float]:
    """Return the p-values of tests on different clips, corrected for the number of tests (Holm 1979).

    The smallest is multiplied by the number of tests, the next by one less, and so on. A corrected value is never below
    that of a smaller p-value. This bounds the probability of any false positive among the tests.
    """
    order = np.argsort(p, kind="stable")
    steps = np.asarray(p, float)[order] * np.arange(len(order), 0, -1)
    corrected: Any = np.empty(len(order))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(steps)) if len(order) else steps
    return corrected.tolist()
