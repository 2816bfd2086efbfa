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
  use random patterns. For each of these, the effect of training on each row and an estimate of the variance between
  seeds are also drawn.
- Correction: the largest |t| of all pairs of rows under the same patterns ("max-T": Westfall and Young 1993). It counts
  every pair, so the reference row may be chosen after seeing the results, as the best row is.
- Several data sets: the mean of the differences. Signs are flipped within each data set. If the data sets test the same
  trainings, the variance between seeds is that of the seeds' means over the data sets.

N rows have N (N - 1) / 2 pairs. A mean under flipped signs is linear in the values, so one matrix product gives the
means of all rows. A pair is the difference of two columns of the product.

B clips, G groups, N rows, P sign patterns.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.special import stdtrit  # scipy.stats takes a second to import

from kinetext.evaluation.intervals import LEVEL, Estimate
from kinetext.evaluation.paired_rows import PairedRows, Training, off_diagonal

PERMUTATIONS = 9999
CHUNK = 250  # patterns at a time: 40 MB with 20 000 groups
ALPHA = 0.05
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


def compare_rows(
    strata: Sequence[PairedRows], seed: int = 0, merged: PairedRows | None = None, shared_training: bool = False
) -> dict[str, np.ndarray]:
    """Return "value", "low", "high", "p" and "corrected_p" of every row minus every other row, each [N, N].

    `strata` has one item for each data set, all with the same rows. `merged` is all data sets as one sample; pass it if
    they share clips (overlap.py). `shared_training`: the data sets test the same trainings (`average_seeds`). The
    diagonal of "value" is 0, and that of the p-values is 1.
    """
    training = Training.of(strata, shared_training)
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
        one_more_NN = off_diagonal(np.ones_like(by_clip_NN))
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


def flipped_means(strata: Sequence[PairedRows], seed: int, exact: bool = True) -> np.ndarray:
    """Return the mean [P, N] of each row under sign patterns of the groups.

    All patterns are used if `exact` and there are at most PERMUTATIONS, else PERMUTATIONS random ones.
    """
    sums = [stratum.group_sums() for stratum in strata]
    totals = [sum_GN.sum(axis=0) for sum_GN in sums]
    scales = [1 / (len(stratum.value_BN) * len(strata)) for stratum in strata]
    chunks = []
    for flips in _flips([len(sum_GN) for sum_GN in sums], seed, exact):
        flipped = [flip_PG.astype(float) @ sum_GN for flip_PG, sum_GN in zip(flips, sums, strict=True)]
        parts = zip(flipped, totals, scales, strict=True)
        chunks.append(sum((total_N - 2 * flipped_PN) * scale for flipped_PN, total_N, scale in parts))
    return np.concatenate(chunks)


def pair_p_values(
    value_NN: np.ndarray, null_NN: np.ndarray, flipped_PN: np.ndarray, training: Training, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the p-values [N, N] of all pairs of rows, first of each pair alone, then corrected for all pairs.

    Under each sign pattern, the means of rows also vary as they do between trainings, and the variance between seeds
    varies as an estimate does. Therefore, large differences are likely if there are few seeds.
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


def _flips(sizes: Sequence[int], seed: int, exact: bool) -> Iterator[list[np.ndarray]]:
    """Yield chunks of sign patterns: one array [P, G] for each data set, 1 for a flipped sign, else 0."""
    total, ends = sum(sizes), np.cumsum(sizes)
    if exact and 2**total <= PERMUTATIONS:
        yield np.split(np.arange(2**total)[:, None] >> np.arange(total) & 1, ends[:-1], axis=1)
        return
    for packed_PG in _random_patterns(total, seed):
        yield np.split(np.unpackbits(packed_PG, axis=1, count=total), ends[:-1], axis=1)


@lru_cache(maxsize=2)  # metrics of one comparison have the same number of groups
def _random_patterns(total: int, seed: int) -> list[np.ndarray]:
    """Return PERMUTATIONS random sign patterns in chunks of CHUNK, as packed bits: 1 is a flipped sign."""
    random = np.random.default_rng([seed, PERMUTATIONS])
    sizes = [min(CHUNK, PERMUTATIONS - first) for first in range(0, PERMUTATIONS, CHUNK)]
    return [np.packbits(random.integers(0, 2, size=(size, total), dtype=np.int8), axis=1) for size in sizes]


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
