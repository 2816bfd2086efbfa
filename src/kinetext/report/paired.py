"""Which of two rows is ahead on the same clips: differences with their intervals, permutation tests, Holm's correction.

- Interval: percentile bootstrap over clips (Efron 1979). Clips are drawn once for all rows, so that every difference is
  one of rows on the same drawn clips.
- p: two-sided permutation test of paired samples (Fisher 1935), as scipy.stats.permutation_test(permutation_type="samples")
  does for one pair: if it made no difference which row a clip's two values came from, each clip's difference could as well have
  the other sign. p is the share of sign patterns whose mean is at least as far from zero. All patterns where there are
  no more than FLIPS of them, else FLIPS random ones, the one that was seen counted among them (Phipson and Smyth 2010).
- Several data sets: the mean over data sets of their differences. Clips are drawn, and signs flipped, in each by itself.

Why not scipy for all: a comparison of N rows has N (N - 1) / 2 pairs. A drawn or flipped mean is linear in the values, so one
matrix product has those of all rows, and a pair is a difference of two of its columns. Tests hold both against scipy.

B clips, N rows, D draws, P sign patterns.
"""

from collections.abc import Iterator, Sequence

import numpy as np

DRAWS, FLIPS = 1000, 9999
LEVEL = 0.95
CHUNK = 250  # draws or patterns at once: 40 MB for 20 000 clips


def compare_rows(strata: Sequence[np.ndarray], seed: int = 0) -> dict[str, np.ndarray]:
    """Every row less every other one, as "value", "low", "high" and "p", each [N, N]: row less column.

    `strata` has one array value_BN for each data set, clips of its own, the same rows. The diagonal is 0 with p = 1.
    """
    rows = strata[0].shape[1]
    mean_N = _mean_N(strata, [np.full((1, len(value_BN)), 1 / len(value_BN)) for value_BN in strata])[0]
    drawn_DN = np.concatenate([_mean_N(strata, weights) for weights in _draws([len(v) for v in strata], seed)])
    parts = [_mean_N(strata, weights) for weights in _flips([len(v) for v in strata], seed)]
    flipped_PN = np.concatenate(parts)
    exact = len(flipped_PN) < FLIPS
    value_NN = mean_N[:, None] - mean_N
    low_NN, high_NN, p_NN = np.zeros((rows, rows)), np.zeros((rows, rows)), np.ones((rows, rows))
    ends = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    for a in range(rows - 1):
        low_NN[a, a + 1 :], high_NN[a, a + 1 :] = np.quantile(drawn_DN[:, a, None] - drawn_DN[:, a + 1 :], ends, axis=0)
        # 1e-12: patterns that give the same mean must count as equal, whatever the order of the sums
        far_PN = np.abs(flipped_PN[:, a, None] - flipped_PN[:, a + 1 :]) >= np.abs(value_NN[a, a + 1 :]) - 1e-12
        share_N = far_PN.mean(axis=0) if exact else (far_PN.sum(axis=0) + 1) / (len(far_PN) + 1)
        p_NN[a, a + 1 :] = p_NN[a + 1 :, a] = share_N
    low_NN, high_NN = low_NN - high_NN.T, high_NN - low_NN.T
    return {"value": value_NN, "low": low_NN, "high": high_NN, "p": p_NN}


def holm(p: Sequence[float]) -> list[float]:
    """The p of a family of comparisons, corrected so that the chance of any false finding among them keeps its bound (Holm
    1979, step-down Bonferroni): the smallest times how many there are, the next times one less, never falling.
    """
    order = np.argsort(p, kind="stable")
    steps = np.asarray(p, float)[order] * np.arange(len(order), 0, -1)
    corrected = np.empty(len(order))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(steps)) if len(order) else steps
    return corrected.tolist()


def _mean_N(strata: Sequence[np.ndarray], weights: Sequence[np.ndarray]) -> np.ndarray:
    """The mean over data sets of each one's weighted sum over clips, a row for each row of the weights."""
    return sum(weight @ value_BN for weight, value_BN in zip(weights, strata, strict=True)) / len(strata)


def _draws(sizes: Sequence[int], seed: int) -> Iterator[list[np.ndarray]]:
    """Weights of bootstrap draws, some at a time: how often each clip was drawn, by their number."""
    random = [np.random.default_rng([seed, at] if at else seed) for at in range(len(sizes))]
    for first in range(0, DRAWS, CHUNK):
        count = min(CHUNK, DRAWS - first)
        yield [
            np.stack([np.bincount(r.integers(size, size=size), minlength=size) for _ in range(count)]) / size
            for r, size in zip(random, sizes, strict=True)
        ]


def _flips(sizes: Sequence[int], seed: int) -> Iterator[list[np.ndarray]]:
    """Weights of sign patterns, some at a time: plus or minus one by the number of clips of the data set."""
    total, ends = sum(sizes), np.cumsum(sizes)
    if 2**total <= FLIPS:
        number_P = np.arange(2**total)
        sign_PB = 1.0 - 2.0 * (number_P[:, None] >> np.arange(total) & 1)
        yield [part / part.shape[1] for part in np.split(sign_PB, ends[:-1], axis=1)]
        return
    random = np.random.default_rng([seed, FLIPS])
    for first in range(0, FLIPS, CHUNK):
        sign_PB = 1.0 - 2.0 * random.integers(0, 2, size=(min(CHUNK, FLIPS - first), total), dtype=np.int8)
        yield [part / part.shape[1] for part in np.split(sign_PB, ends[:-1], axis=1)]
