"""The table `differences`: every row of a comparison minus every other row on the same clips, frames in order.

- Rows are compared by accuracy, also within confusable pairs, LRAP, recall at 1 and AUSUC, and on novel classes also by
  the harmonic mean.
- Comparisons of several data sets with the same protocol, split, metric and rows are also averaged ("pooled").
- The confusable pairs of some rules depend on the backbone. With these rules, only rows with the same backbone are
  compared.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from kinetext.evaluation.measure import is_tested
from kinetext.evaluation.overlap import merged, overlaps
from kinetext.evaluation.paired import about_methods, compare_rows, seed_range
from kinetext.report.harmonic import harmonic_outcomes
from kinetext.report.keys import Comparison, RowKey, num_draws, pool_name
from kinetext.report.outcomes import Measured, Outcome, SeedOutcomes, paired_rows
from kinetext.report.sources import BACKBONE_RULES

COLUMNS = (*RowKey._fields, *(f"than_{field}" for field in RowKey._fields))
MAIN = {"lrap": "lrap", "t2v_r1": "t2v_r1", "v2t_r1": "t2v_r1"}  # the main metric beside each metric; of others, top1
Comparisons = dict[tuple[Comparison, str], SeedOutcomes]  # (comparison, metric) -> rows


def compared_outcomes(measured: dict[Measured, SeedOutcomes]) -> Comparisons:
    """Return the outcomes by which rows are compared in tests, including harmonic means."""
    ordered = {
        (key.comparison, key.metric): rows
        for key, rows in measured.items()
        if key.frame_order == "ordered" and is_tested(key.metric)
    }
    return ordered | harmonic_outcomes(ordered)


def difference_rows(comparisons: Comparisons, sources: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Return all rows of the table `differences`, those over several data sets first.

    `sources` names the videos of each data set. Data sets with the same source may share clips. None: no shared clips.
    """
    pooled = [*pools(comparisons), *({key: outcomes} for key, outcomes in comparisons.items())]
    return [row for pool in pooled for part in _comparable(pool) for row in _rows(part, sources or {})]


def _comparable(pool: Comparisons) -> Iterator[Comparisons]:
    """Yield the rows that can be compared: all, or those of each backbone if the pairs of classes depend on it."""
    (_, metric), first = next(iter(pool.items()))
    if metric.partition(":")[2] not in BACKBONE_RULES:
        yield pool
        return
    keys_by_backbone: dict[str, list[RowKey]] = defaultdict(list)
    for key in first:
        keys_by_backbone[key.backbone].append(key)
    for keys in keys_by_backbone.values():
        yield {address: {key: rows[key] for key in keys if key in rows} for address, rows in pool.items()}


def pools(comparisons: Comparisons) -> Iterator[Comparisons]:
    """Yield the comparisons that can be averaged over data sets, with the rows (at least two) that all of them have.

    A metric that is missing for some of the data sets with the main metric, such as that of a mining rule, is not
    averaged.
    """
    kinds: dict[tuple[str, str, str], Comparisons] = defaultdict(dict)
    for (comparison, metric), rows in sorted(comparisons.items()):
        kinds[comparison.protocol, comparison.split, metric][comparison, metric] = rows
    for (protocol, split, metric), pool in sorted(kinds.items()):
        main = kinds.get((protocol, split, MAIN.get(metric, "top1")), {})
        common = set.intersection(*(set(rows) for rows in pool.values()))
        if len(pool) > 1 and len(common) > 1 and len(pool) >= len(main):
            yield {address: {key: rows[key] for key in common} for address, rows in pool.items()}


def _rows(pool: Comparisons, sources: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of the table for one comparison, or for the mean of several with the same rows."""
    addresses, keys = list(pool), sorted(next(iter(pool.values())))
    strata = [paired_rows(rows, keys) for rows in pool.values()] if len(keys) > 1 else []
    if not strata or not all(len(stratum.value_BN) for stratum in strata):
        return
    source_S = [sources.get(comparison.dataset, comparison.dataset) for comparison, _ in addresses]
    overlap_SS = overlaps(strata, source_S)
    compared = compare_rows(strata, merged=merged(strata, source_S) if overlap_SS.sum() > len(strata) else None)
    (comparison, metric), several = addresses[0], len(addresses) > 1
    columns: dict[str, Any] = {**comparison._asdict(), "metric": metric}
    columns |= {"clips": sum(len(stratum.value_BN) for stratum in strata)}
    columns |= {"methods": about_methods(strata), "seed_range": seed_range(strata)}
    if several:
        columns |= {"dataset": pool_name(len(addresses), metric), "pooled": [other.dataset for other, _ in addresses]}
        columns |= {"sources": source_S, "overlap_DD": overlap_SS.ravel().tolist()}
    mean_SN = np.stack([stratum.value_BN.mean(axis=0) for stratum in strata])  # S data sets
    draws = num_draws(comparison)
    seeds = {key: min(_num_seeds(rows[key], draws) for rows in pool.values()) for key in keys}
    columns["draws"] = draws if draws > 1 else None
    for a, first in enumerate(keys):
        for b, second in enumerate(keys):
            if a != b:
                numbers = {name: float(values_NN[a, b]) for name, values_NN in compared.items()}
                if several:
                    difference_S = mean_SN[:, a] - mean_SN[:, b]
                    numbers |= {"least": float(difference_S.min()), "most": float(difference_S.max())}
                names = dict(zip(COLUMNS, (*first, *second), strict=True))
                yield {**columns, **names, **numbers, "seeds": min(seeds[first], seeds[second])}


def _num_seeds(outcomes: list[Outcome], draws: int) -> int:
    """Return the number of seeds of a row. For a mean over draws, it is the smallest number of seeds of a draw."""
    return min(outcome.seeds for outcome in outcomes) if draws > 1 else len(outcomes)
