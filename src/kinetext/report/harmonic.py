"""The harmonic mean of accuracies on base and novel classes, clip by clip, for paired tests.

The derivatives of h = 2ab / (a + b) are 2 b^2 / (a + b)^2 with respect to a, and 2 a^2 / (a + b)^2 with respect to b.
Of N clips, M are base clips. A base clip with the value y has the pseudo-value h + N / M * 2 b^2 / (a + b)^2 * (y - a).
The formula for novel clips has a and b exchanged, and N - M for M. The mean of all pseudo-values is h, and the variance
of this mean over clips is that of h (delta method). A group that has base and novel clips counts once.
"""

import numpy as np

from kinetext.evaluation.seen_unseen import BASE, SEEN, UNSEEN
from kinetext.report.keys import Comparison
from kinetext.report.outcomes import Outcome, SeedOutcomes, joined

HARMONIC_MEANS = {"harmonic_mean": (BASE["novel"], "novel"), "harmonic_mean_among_all": (SEEN, UNSEEN)}


def harmonic_outcomes(
    comparisons: dict[tuple[Comparison, str], SeedOutcomes],
) -> dict[tuple[Comparison, str], SeedOutcomes]:
    """Return the outcomes of the harmonic mean of top-1 accuracy, by the novel clips' comparison and the metric."""
    harmonic = {}
    for (comparison, metric), base in comparisons.items():
        for name, splits in HARMONIC_MEANS.items():
            novel = comparison._replace(split=splits[1])
            other = comparisons.get((novel, metric))
            if metric == "top1" and comparison.split == splits[0] and other is not None:
                harmonic[novel, name] = {
                    key: [harmonic_outcome(*pair) for pair in zip(seeds, other[key], strict=True)]
                    for key, seeds in base.items()
                    if len(other.get(key, ())) == len(seeds)
                }
    return {address: rows for address, rows in harmonic.items() if rows}


def harmonic_outcome(base: Outcome, novel: Outcome) -> Outcome:
    """Return the outcome of the harmonic mean for one seed, over base and novel clips."""
    a, b = (float(part.value_B.mean()) for part in (base, novel))
    value = 2 * a * b / (a + b) if a + b else 0.0
    slopes = (2 * b**2 / (a + b) ** 2, 2 * a**2 / (a + b) ** 2) if a + b else (0.0, 0.0)
    clips = len(base.value_B) + len(novel.value_B)
    value_B = [
        value + clips / len(part.value_B) * slope * (part.value_B - mean)
        for part, slope, mean in zip((base, novel), slopes, (a, b), strict=True)
    ]
    return joined(base, novel, np.concatenate(value_B))
