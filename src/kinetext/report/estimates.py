"""The numbers of the report: an Estimate for each comparison, metric, frame order and row of the tables."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from kinetext.config.data import source_dataset
from kinetext.evaluation.intervals import NAN, Estimate, mean_over_datasets
from kinetext.evaluation.paired import Difference
from kinetext.evaluation.seed_means import (
    NO_TRAINING,
    ClipParts,
    average_parts,
    estimate_of_run,
    mean_over_seeds,
    pool_seeds,
)
from kinetext.report.draws import combined_draws
from kinetext.report.formats import format_value
from kinetext.report.keys import Comparison, RowKey, comparison_of, is_pooled, key_of, row_labels

Measured = dict[tuple[str, str], dict[RowKey, Estimate]]  # (metric, frame order) -> row -> estimate
Estimates = dict[Comparison, Measured]
Address = tuple[Comparison, tuple[str, str], RowKey]  # comparison, (metric, frame order), row


def estimates_of(metrics: list[dict[str, Any]], variances: list[dict[str, Any]] | None = None) -> Estimates:
    """Return the rows of the table `metrics` averaged over seeds. Rows without a value (NaN or null) are left out.

    `variances` are the rows of the table `clip_variances`. Means over draws of few-shot clips are added (draws.py).
    """
    parts = {_address(row): _parts_of(row) for row in variances or ()}
    seeds: dict[Address, list[Estimate]] = defaultdict(list)
    for row in metrics:
        if row["value"] is not None and row["value"] == row["value"]:
            seeds[_address(row)].append(estimate_of_run(row))
    means = _means(seeds, parts)
    means |= _means_over_draws(means, parts)
    estimates: Estimates = defaultdict(lambda: defaultdict(dict))
    for (comparison, measured, key), mean in means.items():
        estimates[comparison][measured][key] = mean
    return estimates


def _means_over_draws(means: dict[Address, Estimate], parts: dict[Address, ClipParts]) -> dict[Address, Estimate]:
    """Return means over the draws of few-shot clips, for the metrics and rows that all draws have."""
    of_draws: dict[Address, list[Estimate]] = {}
    for whole, draws in combined_draws(address[0] for address in means).items():
        for comparison, measured, key in means:
            addresses = [(draw, measured, key) for draw in draws]
            if comparison == draws[0] and all(address in means for address in addresses):
                of_draws[whole, measured, key] = [means[address] for address in addresses]
    return {
        address: replace(mean, seeds=min(draw.seeds for draw in of_draws[address]), draws=len(of_draws[address]))
        for address, mean in _means(of_draws, parts).items()
    }


def _address(row: dict[str, Any]) -> Address:
    return comparison_of(row), (row["metric"], row["frame_order"]), key_of(row)


def _parts_of(row: dict[str, Any]) -> ClipParts:
    return ClipParts(*(row[column] for column in ClipParts._fields))


def _means(seeds: dict[Address, list[Estimate]], parts: dict[Address, ClipParts]) -> dict[Address, Estimate]:
    """Return means over seeds. The variance between seeds is pooled over the rows of a comparison and metric."""
    trained = {(comparison, key) for (comparison, _, key), runs in seeds.items() if _differ(runs)}
    tables: dict[Any, list[Address]] = defaultdict(list)
    for address in seeds:
        if (address[0], address[2]) in trained:
            tables[address[:2]].append(address)
    between = {}
    for table, addresses in tables.items():
        known = [parts[address].interaction for address in addresses if address in parts]
        values = [[run.value for run in seeds[address]] for address in addresses]
        between[table] = pool_seeds(values, known if len(known) == len(addresses) else ())
    means = {}
    for address, runs in seeds.items():
        pooled = between[address[:2]] if (address[0], address[2]) in trained else None
        means[address] = mean_over_seeds(runs, pooled, parts.get(address))
    return means


def _differ(runs: list[Estimate]) -> bool:
    """Return whether the seeds differ in a metric. Those of a method without training never differ."""
    return len({run.value for run in runs}) > 1


def chance_of(cells: Iterable[Estimate | None]) -> float | None:
    """Return the chance level in a column of a table; None if it is unknown."""
    return next((cell.chance for cell in cells if cell is not None and cell.chance is not None), None)


def chance_text(cells: Iterable[Estimate | None]) -> str:
    """Return the chance level in a column of a table, formatted; "" if it is unknown."""
    for cell in cells:
        if cell is not None and cell.chance is not None:
            return format_value(cell.chance, cell.unit)
    return ""


def pooled_comparisons(differences: list[dict[str, Any]]) -> dict[Comparison, list[str]]:
    """Return the comparisons that are means over data sets, each with the names of the data sets."""
    return {comparison_of(row): row["pooled"] for row in differences if row["pooled"]}


def all_estimates(rows: dict[str, list[dict[str, Any]]], pools: dict[Comparison, list[str]]) -> Estimates:
    """Return the estimates of all comparisons of the collected tables, means over data sets included."""
    estimates = estimates_of(rows["metrics"], rows["clip_variances"])
    runs: dict[Address, dict[int, Estimate]] = defaultdict(dict)  # by seed
    parts: dict[Address, ClipParts] = {}
    if any(source_dataset(comparison.protocol) is not None for comparison in pools):
        parts = {_address(row): _parts_of(row) for row in rows["clip_variances"]}
        for row in rows["metrics"]:
            if row["value"] is not None and row["value"] == row["value"]:
                runs[_address(row)][row["seed"]] = estimate_of_run(row)
    for comparison, names in pools.items():
        tested = [row for row in rows["differences"] if comparison_of(row) == comparison]
        keys = {key_of(row) for row in tested}
        overlap_DD = pool_overlap(tested[0])
        estimates[comparison] = pool_estimates(estimates, comparison, names, keys, overlap_DD)
        if source_dataset(comparison.protocol) is not None:
            cells = [(measured, key) for measured, row in estimates[comparison].items() for key in row]
            estimates[comparison] = _pool_shared_trainings(runs, parts, comparison, names, cells, overlap_DD)
    return estimates


def _pool_shared_trainings(
    runs: Mapping[Address, dict[int, Estimate]],
    parts: Mapping[Address, ClipParts],
    comparison: Comparison,
    datasets: list[str],
    cells: list[tuple[tuple[str, str], RowKey]],
    overlap_DD: np.ndarray | None,
) -> Measured:
    """Return the means of `cells` over data sets that test the same trainings.

    The deviations of one seed on these data sets are not independent. Each seed is therefore averaged over the data
    sets first, and these means have an interval like the seeds of one data set. Seeds that a data set lacks are left out.
    """
    seeds: dict[Address, list[Estimate]] = {}
    fixed: dict[Address, Estimate] = {}  # means with intervals about the trained weights
    pooled_parts: dict[Address, ClipParts] = {}
    for measured, key in cells:
        address = comparison, measured, key
        addresses_D: list[Address] = [(comparison._replace(dataset=name), measured, key) for name in datasets]
        common = sorted(set.intersection(*(set(runs[part]) for part in addresses_D)))
        if not common:
            continue
        runs_DS = [[runs[part][seed] for seed in common] for part in addresses_D]
        of_seeds = [mean_over_datasets(runs_D, overlap_DD) for runs_D in zip(*runs_DS, strict=True)]
        seeds[address] = [replace(mean, variance=NAN) for mean in of_seeds]  # it is that of the first data set
        fixed[address] = mean_over_datasets(
            [
                mean_over_seeds(runs_S, NO_TRAINING if _differ(runs_S) else None, parts.get(part))
                for runs_S, part in zip(runs_DS, addresses_D, strict=True)
            ],
            overlap_DD,
        )
        if all(part in parts for part in addresses_D):
            pooled_parts[address] = average_parts([parts[part] for part in addresses_D], fixed[address])
    pooled: Measured = defaultdict(dict)
    for address, mean in _means(seeds, pooled_parts).items():
        ends = mean if mean.training else fixed[address]
        pooled[address[1]][address[2]] = replace(fixed[address], low=ends.low, high=ends.high, training=mean.training)
    return pooled


def averaged_comparisons(estimates: Estimates, pools: dict[Comparison, list[str]]) -> set[Comparison]:
    """Return the comparisons whose rows are all in a mean over data sets or over draws."""
    return {
        part
        for whole, parts in _parts_of_means(estimates, pools)
        for part in parts
        if _row_keys(estimates, part) <= _row_keys(estimates, whole)
    }


def left_out_sentence(estimates: Estimates, pools: dict[Comparison, list[str]], comparison: Comparison) -> str:
    """Return which rows a mean over data sets or draws leaves out; "" if it has all rows, or is not a mean."""
    parts = [part for whole, parts in _parts_of_means(estimates, pools) for part in parts if whole == comparison]
    keys = {key for part in parts for key in _row_keys(estimates, part)} - _row_keys(estimates, comparison)
    averaged = "data sets" if is_pooled(comparison) else "draws"
    names = ", ".join(sorted(row_labels(keys).values()))
    return f"Not in this mean, because not all of its {averaged} have them: {names}." if keys else ""


def _parts_of_means(
    estimates: Estimates, pools: dict[Comparison, list[str]]
) -> Iterator[tuple[Comparison, list[Comparison]]]:
    """Yield the means over data sets and over draws, each with the comparisons that it averages."""
    for comparison, names in pools.items():
        yield comparison, [comparison._replace(dataset=name) for name in names]
    yield from combined_draws(estimates).items()


def averaged_rows(
    table: Iterable[dict[str, Any]], comparison: Comparison, estimates: Estimates, pools: dict[Comparison, list[str]]
) -> list[dict[str, Any]]:
    """Return the rows of a table of runs that belong to a comparison, or to the data sets and draws that it averages."""
    datasets = pools.get(comparison, [comparison.dataset])
    draws = combined_draws(estimates).get(comparison._replace(dataset=datasets[0]), [comparison])
    protocols = [draw.protocol for draw in draws]
    return [row for row in table if row["dataset"] in datasets and row["protocol"] in protocols]


def _row_keys(estimates: Estimates, comparison: Comparison) -> set[RowKey]:
    return {key for cells in estimates.get(comparison, {}).values() for key in cells}


def pool_overlap(row: dict[str, Any]) -> np.ndarray | None:
    """Return the correlations [D, D] of data sets that are due to shared clips, from a row of the table `differences`.

    None if the row has none. D data sets.
    """
    values = row.get("overlap_DD")
    return None if values is None else np.reshape(values, (len(row["pooled"]), -1))


def pool_estimates(
    estimates: Estimates, comparison: Comparison, datasets: list[str], keys: set[RowKey], overlap_DD: np.ndarray | None
) -> Measured:
    """Return the means over data sets of the rows `keys`, for the metrics that all data sets have.

    Metrics of single pairs of classes are left out.
    """
    parts = [estimates[comparison._replace(dataset=dataset)] for dataset in datasets]
    pooled: Measured = defaultdict(dict)
    for measured, cells in parts[0].items():
        if "/" not in measured[0] and all(measured in part for part in parts):
            for key in cells:
                if key in keys and all(key in part[measured] for part in parts):
                    pooled[measured][key] = mean_over_datasets([part[measured][key] for part in parts], overlap_DD)
    return pooled


def difference_of(row: dict[str, Any]) -> Difference:
    """Return a row of the table `differences` as a Difference.

    Seeds are averaged clip by clip, so there is no range over seeds. The range is over data sets.
    """
    return Difference(
        value=row["value"],
        low=row["low"],
        high=row["high"],
        least=row["value"] if row["least"] is None else row["least"],
        most=row["value"] if row["most"] is None else row["most"],
        seeds=row["seeds"],
        clips=row["clips"],
        datasets=len(row["pooled"]) if row["pooled"] else 1,
        p=row["p"],
        draws=row["draws"] or 1,
        corrected_p=row["corrected_p"],
        methods=row["methods"],
        seed_range=row["seed_range"],
    )


def csv_rows(estimates: Estimates) -> Iterable[dict[str, Any]]:
    """Yield one CSV row for each estimate."""
    for comparison, measured in estimates.items():
        for (metric, frame_order), cells in measured.items():
            for key, estimate in cells.items():
                columns = {**comparison._asdict(), "metric": metric, "frame_order": frame_order, **key._asdict()}
                yield {**columns, **vars(estimate)}
