"""The table `differences`: every row of a comparison less every other, on the clips that both have scored, frames in order;
then the same over several data sets, where those have a protocol, a split and rows in common.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from kinetext.report.outcomes import Key, Outcome, Place, value_matrix
from kinetext.report.paired import compare_rows

NAMES = (*Key._fields, *(f"than_{field}" for field in Key._fields))
Comparisons = dict[Place, dict[Key, list[Outcome]]]


def difference_rows(comparisons: Comparisons) -> list[dict[str, Any]]:
    """All rows of the table; those over several data sets first."""
    return [row for pool in pools(comparisons) for row in _rows(pool)] + [
        row for place, rows in comparisons.items() for row in _rows({place: rows})
    ]


def pools(comparisons: Comparisons) -> Iterator[Comparisons]:
    """What can be averaged over data sets: comparisons of several of them under one protocol, split and metric, with the
    rows that all of them have, if these are two at least.
    """
    for wanted in sorted({place[1:] for place in comparisons}):
        pool = {place: rows for place, rows in sorted(comparisons.items()) if place[1:] == wanted}
        common = set.intersection(*(set(rows) for rows in pool.values()))
        if len(pool) > 1 and len(common) > 1:
            yield {place: {key: rows[key] for key in common} for place, rows in pool.items()}


def pool_name(datasets: int, metric: str) -> str:
    """What stands for the data set; no data set can be called so, for names have no blanks."""
    return f"mean of {datasets}" + (" captioned" if metric.startswith("t2v") else "")


def _rows(pool: Comparisons) -> Iterator[dict[str, Any]]:
    """The rows of one comparison, or of several with the same rows, averaged."""
    places, keys = list(pool), sorted(next(iter(pool.values())))
    strata = [value_matrix(rows, keys) for rows in pool.values()]
    if not all(map(len, strata)):
        return
    found = compare_rows(strata)
    dataset, protocol, split, metric = places[0]
    several = len(places) > 1
    pooled = {"pooled": [place[0] for place in places]} if several else {}
    about: dict[str, Any] = {"dataset": pool_name(len(places), metric) if several else dataset, **pooled}
    about |= {"protocol": protocol, "split": split, "metric": metric, "clips": sum(map(len, strata))}
    of_each = np.stack([value_BN.mean(axis=0) for value_BN in strata])
    seeds = {key: min(len(rows[key]) for rows in pool.values()) for key in keys}
    for a, ours in enumerate(keys):
        for b, theirs in enumerate(keys):
            if a != b:
                numbers = {name: float(values_NN[a, b]) for name, values_NN in found.items()}
                if several:
                    apart = of_each[:, a] - of_each[:, b]
                    numbers |= {"least": float(apart.min()), "most": float(apart.max())}
                names = dict(zip(NAMES, (*ours, *theirs), strict=True))
                yield {**about, **names, **numbers, "seeds": min(seeds[ours], seeds[theirs])}
