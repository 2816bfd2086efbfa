"""The table `differences`: every row of a comparison minus every other on the same clips, frames in order.

Comparisons of several data sets with the same protocol, split, metric and rows are also averaged ("pooled").
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from kinetext.evaluation.paired import about_methods, compare_rows, seed_range
from kinetext.report.keys import Comparison, RowKey, pool_name
from kinetext.report.outcomes import SeedOutcomes, paired_rows

COLUMNS = (*RowKey._fields, *(f"than_{field}" for field in RowKey._fields))
Comparisons = dict[tuple[Comparison, str], SeedOutcomes]  # (comparison, metric) -> rows


def difference_rows(comparisons: Comparisons) -> list[dict[str, Any]]:
    """Return all rows of the table, those over several data sets first."""
    rows = [row for pool in pools(comparisons) for row in _rows(pool)]
    for key, outcomes in comparisons.items():
        rows += _rows({key: outcomes})
    return rows


def pools(comparisons: Comparisons) -> Iterator[Comparisons]:
    """Yield the comparisons that can be averaged over data sets, with the rows that all of them have (at least two)."""
    kinds = {(comparison.protocol, comparison.split, metric) for comparison, metric in comparisons}
    for kind in sorted(kinds):
        pool = {
            (comparison, metric): rows
            for (comparison, metric), rows in sorted(comparisons.items())
            if (comparison.protocol, comparison.split, metric) == kind
        }
        common = set.intersection(*(set(rows) for rows in pool.values()))
        if len(pool) > 1 and len(common) > 1:
            yield {comparison: {key: rows[key] for key in common} for comparison, rows in pool.items()}


def _rows(pool: Comparisons) -> Iterator[dict[str, Any]]:
    """Yield the rows of one comparison, or of several with the same rows, averaged."""
    places, keys = list(pool), sorted(next(iter(pool.values())))
    strata = [paired_rows(rows, keys) for rows in pool.values()]
    if not all(len(stratum.value_BN) for stratum in strata):
        return
    compared = compare_rows(strata)
    comparison, metric = places[0]
    several = len(places) > 1
    columns: dict[str, Any] = {**comparison._asdict(), "metric": metric}
    columns |= {"clips": sum(len(stratum.value_BN) for stratum in strata)}
    columns |= {"methods": about_methods(strata), "seed_range": seed_range(strata)}
    if several:
        columns |= {"dataset": pool_name(len(places), metric), "pooled": [other.dataset for other, _ in places]}
    mean_SN = np.stack([stratum.value_BN.mean(axis=0) for stratum in strata])  # S data sets
    seeds = {key: min(len(rows[key]) for rows in pool.values()) for key in keys}
    for a, first in enumerate(keys):
        for b, second in enumerate(keys):
            if a != b:
                numbers = {name: float(values_NN[a, b]) for name, values_NN in compared.items()}
                if several:
                    difference_S = mean_SN[:, a] - mean_SN[:, b]
                    numbers |= {"least": float(difference_S.min()), "most": float(difference_S.max())}
                names = dict(zip(COLUMNS, (*first, *second), strict=True))
                yield {**columns, **names, **numbers, "seeds": min(seeds[first], seeds[second])}
