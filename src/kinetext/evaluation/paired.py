"""Differences between rows of a comparison on the same clips: intervals, permutation tests and Holm's correction.

- Interval: percentile bootstrap over clips (Efron 1979). Every draw of clips is shared by all rows.
- p: two-sided permutation test of paired samples (Fisher 1935), as
  scipy.stats.permutation_test(permutation_type="samples") for one pair. If the two rows were alike, the difference of
  each clip could as well have the other sign; p is the share of sign patterns whose mean is at least as far from zero.
  All patterns if there are at most PERMUTATIONS, else that many random ones, with the observed pattern counted among
  them (Phipson and Smyth 2010).
- Several data sets: the mean of their differences. Clips are drawn, and signs flipped, within each data set.

scipy tests one pair at a time; N rows have N (N - 1) / 2 pairs. A drawn or flipped mean is linear in the values, so one
matrix product gives those of all rows, and a pair is the difference of two of its columns.

B clips, N rows, D bootstrap draws, P sign patterns.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from kinetext.evaluation.intervals import LEVEL, Estimate

DRAWS, PERMUTATIONS = 1000, 9999
CHUNK = 250  # draws or patterns at a time: 40 MB with 20 000 clips
ALPHA = 0.05
Member = TypeVar("Member")


@dataclass(frozen=True, kw_only=True)
class Difference(Estimate):
    """One row minus another on the same clips, with the p of its permutation test before and after correction."""

    p: float
    corrected_p: float

    @property
    def significant(self) -> bool:
        """Whether the rows differ significantly after correction for all comparisons of the family."""
        return self.corrected_p <= ALPHA


def correct_family(family: Mapping[Member, Difference]) -> dict[Member, Difference]:
    """Return the differences of a family with their p corrected for its size (Holm)."""
    p = holm([member.p for member in family.values()])
    return {key: replace(member, corrected_p=value) for (key, member), value in zip(family.items(), p, strict=True)}


def compare_rows(strata: Sequence[np.ndarray], seed: int = 0) -> dict[str, np.ndarray]:
    """Return "value", "low", "high" and "p" of every row minus every other, each [N, N]: row minus column.

    `strata` has one array [B, N] for each data set, with the same rows. The diagonal is 0 with p = 1.
    """
    rows = strata[0].shape[1]
    mean_N = _mean_N(strata, [np.full((1, len(value_BN)), 1 / len(value_BN)) for value_BN in strata])[0]
    sizes = [len(value_BN) for value_BN in strata]
    drawn_DN = np.concatenate([_mean_N(strata, weights) for weights in _bootstrap_weights(sizes, seed)])
    flipped_PN = np.concatenate([_mean_N(strata, weights) for weights in _sign_weights(sizes, seed)])
    exact = len(flipped_PN) < PERMUTATIONS
    value_NN = mean_N[:, None] - mean_N
    low_NN, high_NN, p_NN = np.zeros((rows, rows)), np.zeros((rows, rows)), np.ones((rows, rows))
    ends = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    for a in range(rows - 1):
        low_NN[a, a + 1 :], high_NN[a, a + 1 :] = np.quantile(drawn_DN[:, a, None] - drawn_DN[:, a + 1 :], ends, axis=0)
        # 1e-12: patterns with the same mean must count as equal, whatever the order of summation
        far_PN = np.abs(flipped_PN[:, a, None] - flipped_PN[:, a + 1 :]) >= np.abs(value_NN[a, a + 1 :]) - 1e-12
        p_N = far_PN.mean(axis=0) if exact else (far_PN.sum(axis=0) + 1) / (len(far_PN) + 1)
        p_NN[a, a + 1 :] = p_NN[a + 1 :, a] = p_N
    low_NN, high_NN = low_NN - high_NN.T, high_NN - low_NN.T
    return {"value": value_NN, "low": low_NN, "high": high_NN, "p": p_NN}


def holm(p: Sequence[float]) -> list[float]:
    """Return the p of a family of tests corrected for their number (Holm 1979, step-down Bonferroni).

    The smallest is multiplied by the number of tests, the next by one less, and so on, never falling: this bounds the
    chance of any false finding in the family.
    """
    order = np.argsort(p, kind="stable")
    steps = np.asarray(p, float)[order] * np.arange(len(order), 0, -1)
    corrected = np.empty(len(order))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(steps)) if len(order) else steps
    return corrected.tolist()


def _mean_N(strata: Sequence[np.ndarray], weights: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean over data sets of their weighted sums over clips, one row for each row of the weights."""
    return sum(weight @ value_BN for weight, value_BN in zip(weights, strata, strict=True)) / len(strata)


def _bootstrap_weights(sizes: Sequence[int], seed: int) -> Iterator[list[np.ndarray]]:
    """Yield chunks of bootstrap draws: for each data set, how often each clip was drawn / number of clips."""
    generators = [np.random.default_rng([seed, at] if at else seed) for at in range(len(sizes))]
    for first in range(0, DRAWS, CHUNK):
        count = min(CHUNK, DRAWS - first)
        yield [
            np.stack([np.bincount(g.integers(size, size=size), minlength=size) for _ in range(count)]) / size
            for g, size in zip(generators, sizes, strict=True)
        ]


def _sign_weights(sizes: Sequence[int], seed: int) -> Iterator[list[np.ndarray]]:
    """Yield chunks of sign patterns: for each data set, +1 or -1 for each clip / number of clips."""
    total, ends = sum(sizes), np.cumsum(sizes)
    if 2**total <= PERMUTATIONS:
        number_P = np.arange(2**total)
        sign_PB = 1.0 - 2.0 * (number_P[:, None] >> np.arange(total) & 1)
        yield [part / part.shape[1] for part in np.split(sign_PB, ends[:-1], axis=1)]
        return
    random = np.random.default_rng([seed, PERMUTATIONS])
    for first in range(0, PERMUTATIONS, CHUNK):
        sign_PB = 1.0 - 2.0 * random.integers(0, 2, size=(min(CHUNK, PERMUTATIONS - first), total), dtype=np.int8)
        yield [part / part.shape[1] for part in np.split(sign_PB, ends[:-1], axis=1)]
