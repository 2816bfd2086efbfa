"""Base-to-novel generalisation: accuracy on trained (base) and novel classes, and the harmonic mean of the two.

- `harmonic_mean`: base clips are scored among base classes, and novel clips among novel classes, as in CoCoOp (CVPR
  2022) and, for videos, ViFi-CLIP (CVPR 2023), OST and TC-CLIP. The method never chooses between a base and a novel
  class.
- `harmonic_mean_among_all`: all clips are scored among all classes, as in generalised zero-shot learning (Xian et al.,
  CVPR 2017). It depends on how a method weighs base against novel classes: a constant added to the scores of all novel
  classes changes it.
- `ausuc`: the area below the curve of both accuracies as this constant varies (evaluation/seen_unseen.py).
"""

from collections import defaultdict
from pathlib import Path
from typing import Any

from kinetext.config.report import ReportOptions
from kinetext.evaluation.intervals import Estimate, harmonic_mean
from kinetext.evaluation.seen_unseen import UNSEEN
from kinetext.report.comparisons import from_best_row, headline_metrics
from kinetext.report.estimates import Estimates, chance_of
from kinetext.report.figures.dots import PlotRow, dot_plot
from kinetext.report.figures.ranks import trade_off_plot
from kinetext.report.harmonic import HARMONIC_MEANS
from kinetext.report.keys import Comparison, RowKey, comparison_of, file_name, key_of, row_labels, sort_key

COLUMNS = {
    "test": "trained classes",
    "novel": "novel classes",
    "test_among_all": "trained, among all classes",
    "novel_among_all": "novel, among all classes",
}
Means = dict[str, dict[RowKey, Estimate]]  # name of a harmonic mean -> row -> estimate


def harmonic_means(estimates: Estimates, novel: Comparison, metric: str) -> Means:
    """Return the harmonic means of a metric for the comparison `novel`, by name, for rows that have both parts."""
    means: Means = {}
    for name, splits in HARMONIC_MEANS.items():
        base, new = (estimates.get(novel._replace(split=split), {}).get((metric, "ordered"), {}) for split in splits)
        if cells := {key: harmonic_mean(base[key], new[key]) for key in base if key in new}:
            means[name] = cells
    return means


def novel_classes(
    estimates: Estimates,
    options: ReportOptions,
    text_comparisons: dict[Comparison, Any],
    differences: list[dict[str, Any]],
    curves: list[dict[str, Any]],
    figures: Path,
) -> list[dict[str, Any]]:
    """Return a table for each data set and protocol with novel classes, sorted by the harmonic mean.

    `text_comparisons` has the results of `compare_texts` by comparison. `differences` and `curves` are the rows of the
    tables `differences` and `seen_unseen`.
    """
    shown = []
    for comparison in sorted((c for c in estimates if c.split == "novel"), key=sort_key):
        splits = {split: comparison._replace(split=split) for split in COLUMNS}
        measured = {split: estimates[other] for split, other in splits.items() if other in estimates}
        if "test" not in measured:
            continue
        metric = headline_metrics(measured["novel"], options, options.headline)[0]
        cells = {split: part.get((metric, "ordered"), {}) for split, part in measured.items()}
        means = harmonic_means(estimates, comparison, metric)
        if area := estimates.get(splits[UNSEEN], {}).get(("ausuc", "ordered")):
            means["ausuc"] = area
        keys = [key for key in cells["test"] if all(key in column for column in cells.values())]
        keys.sort(key=lambda key: -means["harmonic_mean"][key].value)
        labels = row_labels(keys)
        without_novel = sorted(row_labels([key for key in cells["test"] if key not in cells["novel"]]).values())
        rows: list[PlotRow] = [
            (labels[key], [(COLUMNS[split], column[key]) for split, column in cells.items()]) for key in keys
        ]
        chance = {COLUMNS[split]: chance_of(column.values()) for split, column in cells.items()}
        name = f"novel-{file_name([comparison.dataset, comparison.protocol])}"
        plot = dot_plot(name, rows, f"{metric}, percent", figures, chance=chance)
        novel = [split for split in ("novel", "novel_among_all") if split in cells]
        shown.append(
            {
                "comparison": comparison,
                "metric": metric,
                "row_keys": keys,
                "without_novel": without_novel,
                "columns": {COLUMNS[split]: column for split, column in cells.items()},
                "cells": [list(column.values()) for column in (*cells.values(), *means.values())],
                "harmonic": {name.replace("_", " "): column for name, column in means.items()},
                "text_comparisons": {COLUMNS[split]: text_comparisons.get(splits[split], []) for split in novel},
                "plot": plot,
                "from_best": {
                    name.replace("_", " "): tested
                    for name, column in means.items()
                    # harmonic means are tested in top-1 accuracy
                    if (name == "ausuc" or metric == "top1")
                    and (tested := _from_best(column, differences, comparison, name))
                },
                "curves": _curves(keys, comparison, curves, figures),
            }
        )
    return shown


def _from_best(
    cells: dict[RowKey, Estimate], differences: list[dict[str, Any]], novel: Comparison, metric: str
) -> dict[RowKey, Any]:
    """Return the difference of each row from the best row in a harmonic mean or AUSUC."""
    split = "novel" if metric == "harmonic_mean" else UNSEEN
    tested = [row for row in differences if comparison_of(row) == novel._replace(split=split)]
    return from_best_row(cells, tested, metric)


def _curves(keys: list[RowKey], novel: Comparison, curves: list[dict[str, Any]], figures: Path) -> str:
    """Plot the seen-unseen curve of each seed of each row. Returns SVG, or "" without curves.

    A mean over data sets has no curves.
    """
    labels = row_labels(keys)
    lines: dict[str, dict[int, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for row in curves:
        if (row["dataset"], row["protocol"]) == (novel.dataset, novel.protocol) and key_of(row) in labels:
            lines[labels[key_of(row)]][row["seed"]].append((row["seen"], row["unseen"]))
    if not lines:
        return ""
    name = f"seen-unseen-{file_name([novel.dataset, novel.protocol])}"
    return trade_off_plot(name, {label: list(seeds.values()) for label, seeds in lines.items()}, figures)
