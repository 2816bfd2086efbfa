"""The numbers of the report: an Estimate for each comparison, metric, frame order and row of the tables."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from kinetext.evaluation.intervals import (
    INFINITE,
    NAN,
    Estimate,
    SeedVariance,
    mean_over_datasets,
    mean_over_seeds,
    pool_seeds,
)
from kinetext.evaluation.metrics import unit_of
from kinetext.evaluation.paired import Difference
from kinetext.report.formats import format_value
from kinetext.report.keys import Comparison, RowKey, comparison_of, key_of

Measured = dict[tuple[str, str], dict[RowKey, Estimate]]  # (metric, frame order) -> row -> estimate
Estimates = dict[Comparison, Measured]


def estimates_of(metrics: list[dict[str, Any]]) -> Estimates:
    """Return the rows of the table `metrics` averaged over seeds, without those that counted nothing (NaN or null)."""
    seeds: dict[Any, list[Estimate]] = defaultdict(list)
    for row in metrics:
        if row["value"] is not None and row["value"] == row["value"]:
            measured = row["metric"], row["frame_order"]
            seeds[comparison_of(row), measured, key_of(row)].append(_estimate_of_run(row))
    estimates: Estimates = defaultdict(lambda: defaultdict(dict))
    trained = {(comparison, key) for (comparison, _, key), runs in seeds.items() if _differ(runs)}
    tables: dict[Any, list[list[float]]] = defaultdict(list)
    for (comparison, measured, key), runs in seeds.items():
        if (comparison, key) in trained:
            tables[comparison, measured].append([run.value for run in runs])
    between: dict[Any, SeedVariance] = {table: pool_seeds(rows) for table, rows in tables.items()}
    for (comparison, measured, key), runs in seeds.items():
        pooled = between[comparison, measured] if (comparison, key) in trained else None
        estimates[comparison][measured][key] = mean_over_seeds(runs, pooled)
    return estimates


def _differ(runs: list[Estimate]) -> bool:
    """Return whether the seeds differ in a metric: the seeds of a method without training never do."""
    return len({run.value for run in runs}) > 1


def _estimate_of_run(row: dict[str, Any]) -> Estimate:
    """Return a row of the table `metrics`."""
    return Estimate(
        value=row["value"],
        low=row["low"],
        high=row["high"],
        least=row["value"],
        most=row["value"],
        seeds=1,
        clips=row["clips"],
        unit=row.get("unit") or unit_of(row["metric"]),
        higher_is_better=row.get("higher_is_better") is not False,
        variance=NAN if row.get("variance") is None else row["variance"],
        freedom=INFINITE if row.get("freedom") is None else row["freedom"],
        groups=row.get("groups") or 0,
        guessing=row.get("guessing"),
    )


def guessing_of(cells: Iterable[Estimate | None]) -> float | None:
    """Return what guessing gives in a column of a table; None if it is unknown."""
    return next((cell.guessing for cell in cells if cell is not None and cell.guessing is not None), None)


def guessing_text(cells: Iterable[Estimate | None]) -> str:
    """Return what guessing gives in a column of a table, as shown; "" if it is unknown."""
    for cell in cells:
        if cell is not None and cell.guessing is not None:
            return format_value(cell.guessing, cell.unit)
    return ""


def pooled_comparisons(differences: list[dict[str, Any]]) -> dict[Comparison, list[str]]:
    """Return the comparisons that are means over data sets, with the names of the data sets."""
    return {comparison_of(row): row["pooled"] for row in differences if row["pooled"]}


def all_estimates(rows: dict[str, list[dict[str, Any]]], pools: dict[Comparison, list[str]]) -> Estimates:
    """Return the estimates of all comparisons of the collected tables, means over data sets included."""
    estimates = estimates_of(rows["metrics"])
    for comparison, names in pools.items():
        keys = {key_of(row) for row in rows["differences"] if comparison_of(row) == comparison}
        estimates[comparison] = pool_estimates(estimates, comparison, names, keys)
    return estimates


def pool_estimates(estimates: Estimates, comparison: Comparison, datasets: list[str], keys: set[RowKey]) -> Measured:
    """Return means over data sets of what all of them measured of the rows `keys`, without single pairs of classes."""
    parts = [estimates[comparison._replace(dataset=dataset)] for dataset in datasets]
    pooled: Measured = defaultdict(dict)
    for measured, cells in parts[0].items():
        if "/" not in measured[0] and all(measured in part for part in parts):
            for key in cells:
                if key in keys and all(key in part[measured] for part in parts):
                    pooled[measured][key] = mean_over_datasets([part[measured][key] for part in parts])
    return pooled


def difference_of(row: dict[str, Any]) -> Difference:
    """Return a row of the table `differences`.

    Seeds are averaged clip by clip, so there is no range over seeds; the range is over data sets.
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
        corrected_p=row["corrected_p"],
        methods=row["methods"],
        seed_range=row["seed_range"],
    )


def csv_rows(estimates: Estimates) -> Iterable[dict[str, Any]]:
    """Yield one row for each estimate, for a CSV file."""
    for comparison, measured in estimates.items():
        for (metric, frame_order), cells in measured.items():
            for key, estimate in cells.items():
                columns = {**comparison._asdict(), "metric": metric, "frame_order": frame_order, **key._asdict()}
                yield {**columns, **vars(estimate)}
