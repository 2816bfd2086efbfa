"""Base-to-novel generalisation: accuracy on trained (base) and novel classes, and the harmonic mean of the two.

As in CoCoOp (CVPR 2022) and, for videos, ViFi-CLIP (CVPR 2023). The harmonic mean is high only if both accuracies are.
"""

from pathlib import Path
from typing import Any

from kinetext.config.report import ReportOptions
from kinetext.evaluation.intervals import harmonic_mean
from kinetext.report.comparisons import headline_metrics
from kinetext.report.estimates import Estimates
from kinetext.report.figures import PlotRow, dot_plot
from kinetext.report.keys import Comparison, file_name, row_labels, sort_key

COLUMNS = {"test": "trained classes", "novel": "novel classes", "novel_among_all": "novel, among all classes"}


def novel_classes(
    estimates: Estimates, options: ReportOptions, text_comparisons: dict[Comparison, Any], figures: Path
) -> list[dict[str, Any]]:
    """Return a table for each data set and protocol with novel classes.

    The harmonic mean uses novel clips scored among all classes, or, if these were not predicted, among the novel ones.
    `text_comparisons` has the comparisons of text sets (`compare_texts`).
    """
    shown = []
    for comparison in sorted((c for c in estimates if c.split == "novel"), key=sort_key):
        splits = {split: comparison._replace(split=split) for split in COLUMNS}
        measured = {split: estimates[other] for split, other in splits.items() if other in estimates}
        if "test" not in measured:
            continue
        metric = headline_metrics(measured["novel"], options)[0]
        cells = {split: part.get((metric, "ordered"), {}) for split, part in measured.items()}
        keys = [key for key in cells["test"] if all(key in column for column in cells.values())]
        novel = "novel_among_all" if "novel_among_all" in cells else "novel"
        means = {key: harmonic_mean(cells["test"][key], cells[novel][key]) for key in keys}
        keys.sort(key=lambda key: -means[key].value)
        labels = row_labels(keys)
        rows: list[PlotRow] = [
            (labels[key], [(COLUMNS[split], column[key]) for split, column in cells.items()]) for key in keys
        ]
        plot = dot_plot(
            f"novel-{file_name([comparison.dataset, comparison.protocol])}", rows, f"{metric}, percent", figures
        )
        shown.append(
            {
                "comparison": comparison,
                "metric": metric,
                "row_keys": keys,
                "columns": {COLUMNS[split]: column for split, column in cells.items()},
                "harmonic": means,
                "novel": COLUMNS[novel],
                "text_comparisons": text_comparisons.get(splits[novel], []),
                "plot": plot,
            }
        )
    return shown
