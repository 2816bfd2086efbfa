"""The table `differences`: every row of a comparison minus every other row on the same clips, frames in order.

- Rows are compared by accuracy, also within confusable pairs, LRAP, recall at 1 and AUSUC, and on novel classes also by
  the harmonic mean.
- Comparisons of several data sets with the same protocol, split, metric and rows are also averaged ("pooled"). A
  harmonic mean is then that of the mean accuracies, as in the cells of the report.
- The confusable pairs of some rules depend on the backbone. With these rules, only rows with the same backbone are
  compared.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from kinetext.config.data import source_dataset
from kinetext.evaluation.measure import is_tested
from kinetext.evaluation.overlap import merged, overlaps
from kinetext.evaluation.paired import compare_rows
from kinetext.evaluation.paired_rows import PairedRows, about_methods, seed_range
from kinetext.report.harmonic import HARMONIC_MEANS, harmonic_outcomes, pooled_harmonic_outcomes
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

    `sources` names the source of each data set's videos. Data sets with the same source may share clips. If it is None,
    no clips are shared.
    """
    pooled = [*pools(comparisons), *({key: outcomes} for key, outcomes in comparisons.items())]
    return [row for pool in pooled for part in _comparable(pool) for row in _rows(part, sources or {}, comparisons)]


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
    averaged. Of data sets that test the same trainings, the trainings are averaged that all data sets have tested.
    """
    kinds: dict[tuple[str, str, str], Comparisons] = defaultdict(dict)
    for (comparison, metric), rows in sorted(comparisons.items()):
        kinds[comparison.protocol, comparison.split, metric][comparison, metric] = rows
    for (protocol, split, metric), pool in sorted(kinds.items()):
        main = kinds.get((protocol, split, MAIN.get(metric, "top1")), {})
        pool = pool if source_dataset(protocol) is None else _common_seeds(pool)
        common = set.intersection(*(set(rows) for rows in pool.values()))
        if len(pool) > 1 and len(common) > 1 and len(pool) >= len(main):
            yield {address: {key: rows[key] for key in common} for address, rows in pool.items()}


def _common_seeds(pool: Comparisons) -> Comparisons:
    """Return the seeds of each row that all comparisons have, in order. Rows without such a seed are left out."""
    seeds: dict[RowKey, list[set[int]]] = defaultdict(list)
    for rows in pool.values():
        for key, outcomes in rows.items():
            seeds[key].append({outcome.seed for outcome in outcomes})
    common = {key: set.intersection(*of_data_sets) for key, of_data_sets in seeds.items()}
    return {
        address: {
            key: sorted((one for one in outcomes if one.seed in common[key]), key=lambda one: one.seed)
            for key, outcomes in rows.items()
            if common[key]
        }
        for address, rows in pool.items()
    }


def _rows(pool: Comparisons, sources: Mapping[str, str], comparisons: Comparisons) -> Iterator[dict[str, Any]]:
    """Yield the rows of the table for one comparison, or for the mean of several with the same rows.

    `comparisons` are all comparisons, which have the two parts of each harmonic mean.
    """
    keys = sorted(next(iter(pool.values())))
    strata = [paired_rows(rows, keys) for rows in pool.values()] if len(keys) > 1 else []
    if not strata or not all(len(stratum.value_BN) for stratum in strata):
        return
    source_S = [sources.get(comparison.dataset, comparison.dataset) for comparison, _ in pool]
    overlap_SS = overlaps(strata, source_S)
    averaged = _averaged_strata(pool, keys, comparisons) or strata
    compared = compare_rows(
        averaged,
        merged=merged(averaged, source_S) if overlap_SS.sum() > len(strata) else None,
        shared_training=source_dataset(next(iter(pool))[0].protocol) is not None,
    )
    columns = _columns(pool, strata)
    if len(pool) > 1:
        columns |= {"sources": source_S, "overlap_DD": overlap_SS.ravel().tolist()}
    mean_SN = np.stack([stratum.value_BN.mean(axis=0) for stratum in strata])  # S data sets
    draws = num_draws(next(iter(pool))[0])
    seeds = {key: min(_num_seeds(rows[key], draws) for rows in pool.values()) for key in keys}
    for a, first in enumerate(keys):
        for b, second in enumerate(keys):
            if a != b:
                numbers = {name: float(values_NN[a, b]) for name, values_NN in compared.items()}
                if len(pool) > 1:
                    difference_S = mean_SN[:, a] - mean_SN[:, b]
                    numbers |= {"least": float(difference_S.min()), "most": float(difference_S.max())}
                names = dict(zip(COLUMNS, (*first, *second), strict=True))
                yield {**columns, **names, **numbers, "seeds": min(seeds[first], seeds[second])}


def _columns(pool: Comparisons, strata: list[PairedRows]) -> dict[str, Any]:
    """Return the columns of the table that all pairs of rows of a comparison, or of a mean of several, share."""
    comparison, metric = next(iter(pool))
    draws = num_draws(comparison)
    columns: dict[str, Any] = {**comparison._asdict(), "metric": metric}
    columns |= {"clips": sum(len(stratum.value_BN) for stratum in strata), "draws": draws if draws > 1 else None}
    columns |= {"methods": about_methods(strata), "seed_range": seed_range(strata)}
    if len(pool) > 1:
        columns |= {"dataset": pool_name(len(pool), metric), "pooled": [other.dataset for other, _ in pool]}
    return columns


def _averaged_strata(pool: Comparisons, keys: list[RowKey], comparisons: Comparisons) -> list[PairedRows]:
    """Return the rows of each data set for tests of a harmonic mean over data sets; empty for other metrics.

    The harmonic mean of mean accuracies is not the mean of the harmonic means in `pool`.
    """
    metric = next(iter(pool))[1]
    if metric not in HARMONIC_MEANS or len(pool) == 1:
        return []
    outcomes_S = pooled_harmonic_outcomes(comparisons, [comparison for comparison, _ in pool], metric)
    return [paired_rows(rows, keys) for rows in outcomes_S]


def _num_seeds(outcomes: list[Outcome], draws: int) -> int:
    """Return the number of seeds of a row. For a mean over draws, it is the smallest number of seeds of a draw."""
    return min(outcome.seeds for outcome in outcomes) if draws > 1 else len(outcomes)
