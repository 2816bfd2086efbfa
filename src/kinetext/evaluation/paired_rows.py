"""The rows of a comparison on the same clips, and the variance of each that is due to training (seed_means.py).

A row is a method with its texts. With one or two seeds per row, tests apply to the trained weights, and training adds
no variance. With three or more seeds they apply to methods.

B clips, G groups, N rows, P sign patterns, E estimates of the variance between seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kinetext.evaluation.seed_means import MIN_SEEDS, SeedVariance, inverse_freedom, pool_seeds

MAX_FREEDOM = 1e6  # degrees of freedom of a variance that is known to be 0


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
    """Return whether every row has at least MIN_SEEDS seeds or is not trained, so that tests apply to methods."""
    return all(stratum.seed_values and stratum.fewest_seeds() >= MIN_SEEDS for stratum in strata)


def seed_range(strata: Sequence[PairedRows]) -> float | None:
    """Return the largest difference between two seeds of one row; None if no row has two seeds."""
    ranges = [max(values) - min(values) for stratum in strata for values in stratum.seed_values if len(values) > 1]
    return max(ranges, default=None)


def average_seeds(strata: Sequence[PairedRows]) -> PairedRows:
    """Return the mean of all data sets as one data set without clips: the value of each seed is its mean over them.

    This is for data sets that test the same trainings. The seeds of a row must be the same, in the same order, on all
    data sets. The variance due to clips is assumed to be independent between data sets, which is cautious if they share
    clips.
    """
    rows = strata[0].value_BN.shape[1]
    trained_DN = [np.ones(rows, bool) if s.trained_N is None else s.trained_N for s in strata]
    interaction_DN = [np.zeros(rows) if s.interaction_N is None else s.interaction_N for s in strata]
    seed_values_N = zip(*(stratum.seed_values for stratum in strata), strict=True)
    return PairedRows(
        np.zeros((0, rows)),
        seed_values=[np.mean(value_DS, axis=0).tolist() for value_DS in seed_values_N],
        trained_N=np.any(trained_DN, axis=0),
        interaction_N=np.sum(interaction_DN, axis=0) / len(strata) ** 2,
        untrained_N=strata[0].untrained_N,
    )


@dataclass(frozen=True)
class Training:
    """What training adds to the variance of each row, over all data sets together.

    Rows share an estimate of the variance between seeds, or each has a separate one. E estimates, the shared one first.
    """

    variance_N: np.ndarray  # of each row's mean
    noise_N: np.ndarray  # likewise with what clips add to the variance between seeds, which varies as a whole
    freedom_E: np.ndarray  # degrees of freedom of each estimate
    estimate_N: np.ndarray  # the number of each row's estimate

    @classmethod
    def of(cls, strata: Sequence[PairedRows], shared: bool = False) -> "Training":
        """Return the variances that are due to training; 0 if a trained row has fewer than MIN_SEEDS seeds.

        `shared`: all data sets test the same trainings; otherwise the trainings of each data set are independent.
        """
        rows = strata[0].value_BN.shape[1]
        zero_N = np.zeros(rows)
        if not about_methods(strata):
            return cls(zero_N, zero_N, np.ones(1), zero_N.astype(int))
        strata = [average_seeds(strata)] if shared else strata
        share = 1 / len(strata) ** 2
        variance_N, noise_N, squares_N, pooled_N = zero_N.copy(), zero_N.copy(), zero_N.copy(), np.ones(rows, bool)
        for stratum in strata:
            variances, seeds_N = stratum.seed_variances()
            part_N = share * np.array([one.variance for one in variances]) / seeds_N
            variance_N += share * np.array([one.of_mean(1) for one in variances]) / seeds_N
            noise_N += part_N
            squares_N += part_N**2 / np.maximum([one.freedom for one in variances], 1)
            pooled_N &= [one.pooled for one in variances]
        known_N = np.full(rows, MAX_FREEDOM)
        freedom_N = np.divide(noise_N**2, squares_N, out=known_N, where=squares_N > 0)  # Satterthwaite (1946)
        freedom_E = np.append(np.min(freedom_N[pooled_N], initial=MAX_FREEDOM), freedom_N[~pooled_N])
        return cls(variance_N, noise_N, freedom_E, np.where(pooled_N, 0, np.cumsum(~pooled_N)))

    def of_pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Return `variance` and `noise` [N, N] of the difference between every two rows."""
        variance_NN, noise_NN = (off_diagonal(part_N[:, None] + part_N) for part_N in (self.variance_N, self.noise_N))
        return variance_NN, noise_NN

    def inverse_freedom(self, total_NN: np.ndarray) -> np.ndarray:
        """Return the part of 1 / (degrees of freedom) of each difference [N, N] that is due to seeds.

        `total_NN` is the whole variance of each difference. The parts of two rows with the same estimate are added before
        the formula is applied, because they are too large or too small together.
        """
        inverse_NN = np.zeros_like(total_NN)
        for number, freedom in enumerate(self.freedom_E):
            part_N = np.where(self.estimate_N == number, self.noise_N, 0.0)
            inverse_NN += inverse_freedom(off_diagonal(part_N[:, None] + part_N) / total_NN, freedom)
        return inverse_NN

    def draw(self, random: np.random.Generator, patterns: int) -> np.ndarray:
        """Return random estimates [P, N] of `noise_N`, as they vary between studies."""
        scale_PE = random.chisquare(self.freedom_E, size=(patterns, len(self.freedom_E))) / self.freedom_E
        return scale_PE[:, self.estimate_N] * self.noise_N


def off_diagonal(value_NN: np.ndarray) -> np.ndarray:
    """Return the matrix with zeros on its diagonal."""
    return np.where(np.eye(len(value_NN), dtype=bool), 0.0, value_NN)
