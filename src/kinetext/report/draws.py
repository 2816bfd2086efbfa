"""Means over draws of few-shot clips: few_shot_4_draw0 to _draw2 become "few_shot_4 mean of 3 draws".

A draw is treated like a seed: the mean over the seeds of a draw counts as one training. With three or more draws,
intervals and tests therefore include how much other training clips change the result.
"""

from collections import defaultdict
from collections.abc import Iterable

from kinetext.config.data import draw_name
from kinetext.report.keys import Comparison, over_draws
from kinetext.report.outcomes import Measured, Outcome, SeedOutcomes, aligned


def combined_draws(comparisons: Iterable[Comparison]) -> dict[Comparison, list[Comparison]]:
    """Return the means over draws that the comparisons allow, each with the comparisons of its draws (at least two)."""
    draws: dict[Comparison, list[Comparison]] = defaultdict(list)
    for comparison in sorted(set(comparisons)):
        stem, separator, _ = draw_name(comparison.protocol).rpartition("_draw")
        if separator:
            draws[comparison._replace(protocol=stem)].append(comparison)
    return {
        whole._replace(protocol=over_draws(whole.protocol, len(parts))): parts
        for whole, parts in draws.items()
        if len(parts) > 1
    }


def add_draws(measured: dict[Measured, SeedOutcomes]) -> dict[Measured, SeedOutcomes]:
    """Return the outcomes, and in addition the means over draws for the rows that all draws have."""
    combined = combined_draws(key.comparison for key in measured)
    added: dict[Measured, SeedOutcomes] = {}
    for whole, parts in combined.items():
        for first in [key for key in measured if key.comparison == parts[0]]:
            draws = [measured.get(first._replace(comparison=part), {}) for part in parts]
            rows = {key: [_mean(draw[key]) for draw in draws] for key in draws[0] if all(key in draw for draw in draws)}
            if rows:
                added[first._replace(comparison=whole)] = rows
    return measured | added


def _mean(seeds: list[Outcome]) -> Outcome:
    """Return the mean outcome over the seeds of a draw."""
    clip_ids, value_SB, group_B = aligned(seeds)
    return Outcome(clip_ids, value_SB.mean(axis=0), group_B, len(seeds), seeds[0].untrained)
