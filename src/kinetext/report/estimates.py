"""What every part of the report takes its numbers from: one Estimate for each comparison, metric, view and row of it.

A comparison is a data set under a protocol and a split of its clips; its rows are methods with texts.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from kinetext.report.figures import Estimate

Comparison = tuple[str, str, str]  # dataset, protocol, split
Key = tuple[str, str]  # method, texts
Estimates = dict[Comparison, dict[tuple[str, str], dict[Key, Estimate]]]  # (metric, view) -> row -> number


def estimates(metrics: list[dict[str, Any]]) -> Estimates:
    """The rows of `metrics`, averaged over seeds. A row that counted nothing (NaN or null) is left out."""
    seeds: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for row in metrics:
        if row["value"] is not None and row["value"] == row["value"]:
            comparison = (row["dataset"], row["protocol"], row["split"])
            seeds[comparison, (row["metric"], row["view"]), (row["method"], row["texts"])].append(row)
    found: Estimates = defaultdict(lambda: defaultdict(dict))
    for (comparison, measured, key), rows in seeds.items():
        value, low, high = (sum(row[c] for row in rows) / len(rows) for c in ("value", "low", "high"))
        values = [row["value"] for row in rows]
        clips = max(row["clips"] for row in rows)
        found[comparison][measured][key] = Estimate(value, low, high, min(values), max(values), len(rows), clips)
    return found


def long_rows(found: Estimates) -> Iterable[dict[str, Any]]:
    """The numbers one a row, for a csv file."""
    for (dataset, protocol, split), measured in found.items():
        for (metric, view), cells in measured.items():
            for (method, texts), estimate in cells.items():
                about = {"dataset": dataset, "protocol": protocol, "split": split, "metric": metric, "view": view}
                yield {**about, "method": method, "texts": texts, **vars(estimate)}


def difference(row: dict[str, Any]) -> Estimate:
    """A row of the table `differences`; it has no range over seeds, for seeds are averaged clip by clip."""
    return Estimate(row["value"], row["low"], row["high"], row["value"], row["value"], row["seeds"], row["clips"])


def place(row: dict[str, Any]) -> Comparison:
    """The comparison that a row of metrics or differences belongs to."""
    return row["dataset"], row["protocol"], row["split"]


def order(at: Comparison) -> tuple[str, str, int]:
    """Test before novel before anything else."""
    return at[0], at[1], {"test": 0, "novel": 1, "novel_among_all": 2}.get(at[2], 3)


def title(at: Comparison) -> str:
    """A comparison in words."""
    return f"{at[0]}, {at[2]} clips, {at[1]}"


def label(key: Key) -> str:
    """A row of a figure."""
    return f"{key[0]} · {key[1]}"
