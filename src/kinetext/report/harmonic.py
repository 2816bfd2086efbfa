"""The harmonic mean of accuracies on base and novel classes, clip by clip, for paired tests.

The derivatives of h = 2ab / (a + b) are 2 b^2 / (a + b)^2 with respect to a, and 2 a^2 / (a + b)^2 with respect to b.
Of N clips, M are base clips. A base clip with the value y has the pseudo-value h + N / M * 2 b^2 / (a + b)^2 * (y - a).
The formula for novel clips has a and b exchanged, and N - M for M. The mean of all pseudo-values is h, and the variance
of this mean over clips is that of h (delta method). A group that has base and novel clips counts once.

With several seeds or data sets, a and b are the means over all of them, as in the cells of the report. One seed with
the accuracies a' and b' then has h plus the derivatives times (a' - a) and (b' - b). The mean over seeds and data sets
is h.
"""

from collections.abc import Sequence

import numpy as np

from kinetext.evaluation.seen_unseen import BASE, SEEN, UNSEEN
from kinetext.report.keys import Comparison, RowKey
from kinetext.report.outcomes import Outcome, SeedOutcomes, joined

HARMONIC_MEANS = {"harmonic_mean": (BASE["novel"], "novel"), "harmonic_mean_among_all": (SEEN, UNSEEN)}


def harmonic_outcomes(
    comparisons: dict[tuple[Comparison, str], SeedOutcomes],
) -> dict[tuple[Comparison, str], SeedOutcomes]:
    """Return the outcomes of the harmonic mean of top-1 accuracy, by the novel clips' comparison and the metric."""
    harmonic = {}
    for comparison, metric in comparisons:
        for name, splits in HARMONIC_MEANS.items():
            if metric == "top1" and comparison.split == splits[1]:
                harmonic[comparison, name] = pooled_harmonic_outcomes(comparisons, [comparison], name)[0]
    return {address: rows for address, rows in harmonic.items() if rows}


def pooled_harmonic_outcomes(
    comparisons: dict[tuple[Comparison, str], SeedOutcomes], novel: Sequence[Comparison], name: str
) -> list[SeedOutcomes]:
    """Return the outcomes on each data set for tests of the harmonic mean `name` of their mean accuracies.

    `novel` are the comparisons of the novel clips of each data set. Rows that a data set lacks are left out.
    """
    parts_D = [_parts(comparisons, comparison, name) for comparison in novel]
    keys = [key for key in parts_D[0] if all(key in parts for parts in parts_D)]
    means = {key: _mean_accuracies([parts[key] for parts in parts_D]) for key in keys}
    return [{key: [harmonic_outcome(*seed, means[key]) for seed in parts[key]] for key in keys} for parts in parts_D]


def _parts(
    comparisons: dict[tuple[Comparison, str], SeedOutcomes], novel: Comparison, name: str
) -> dict[RowKey, list[tuple[Outcome, Outcome]]]:
    """Return the outcomes on base and on novel clips of each seed, for the rows that have both."""
    base, new = (comparisons.get((novel._replace(split=split), "top1"), {}) for split in HARMONIC_MEANS[name])
    return {key: list(zip(base[key], new[key], strict=True)) for key in base if len(base[key]) == len(new.get(key, ()))}


def _mean_accuracies(parts_D: Sequence[Sequence[tuple[Outcome, Outcome]]]) -> tuple[float, float]:
    """Return the accuracies of a row on base and on novel clips, each averaged over seeds, then over data sets."""
    mean_D2 = [np.mean([_accuracies(*seed) for seed in seeds], axis=0) for seeds in parts_D]
    base, novel = np.mean(mean_D2, axis=0).tolist()
    return base, novel


def _accuracies(base: Outcome, novel: Outcome) -> tuple[float, float]:
    return float(base.value_B.mean()), float(novel.value_B.mean())


def harmonic_outcome(base: Outcome, novel: Outcome, means: tuple[float, float] | None = None) -> Outcome:
    """Return the outcome of the harmonic mean for one seed, over base and novel clips.

    `means` are the accuracies that are averaged over seeds and data sets; None: those of this seed.
    """
    accuracies = _accuracies(base, novel)
    a, b = means or accuracies
    slopes = (2 * b**2 / (a + b) ** 2, 2 * a**2 / (a + b) ** 2) if a + b else (0.0, 0.0)
    value = 2 * a * b / (a + b) if a + b else 0.0
    value += sum(slope * (one - mean) for slope, one, mean in zip(slopes, accuracies, (a, b), strict=True))
    clips = len(base.value_B) + len(novel.value_B)
    value_B = [
        value + clips / len(part.value_B) * slope * (part.value_B - accuracy)
        for part, slope, accuracy in zip((base, novel), slopes, accuracies, strict=True)
    ]
    return joined(base, novel, np.concatenate(value_B))
