"""Calibration of the probabilities, selective prediction, and accuracy on head, middle and tail classes.

Calibration and selective prediction come from the metrics `ece`, `ece_calibrated` and `aurc`, the temperatures of the
table `runs`, and the table `risk_coverage`. The rest comes from the metrics `head_accuracy`, `middle_accuracy` and
`tail_accuracy`.
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from kinetext.evaluation.class_sizes import NAMES
from kinetext.report.estimates import Estimates, averaged_rows
from kinetext.report.figures.bands import curve_plot
from kinetext.report.keys import Comparison, RowKey, comparison_of, file_name, key_of, row_labels, sort_key

Rows = list[dict[str, Any]]
METRICS = ("ece", "ece_calibrated", "aurc")


def calibration_sections(
    estimates: Estimates, runs: Rows, risks: Rows, pools: dict[Comparison, list[str]], figures: Path
) -> list[dict[str, Any]]:
    """Return the calibration of the rows of each comparison of classes, sorted by AURC, the lowest first.

    The split `test` also gets risk-coverage curves. `pools` are the means over data sets, with the data sets' names.
    Temperatures of a mean are those of all runs that it averages.
    """
    seeds: dict[Any, dict[RowKey, dict[int, list[tuple[float, float]]]]] = defaultdict(lambda: defaultdict(dict))
    for row in risks:
        points = seeds[comparison_of(row)][key_of(row)].setdefault(row["seed"], [])
        points.append((100 * row["coverage"], 100 * row["risk"]))
    sections = []
    for comparison in sorted(estimates, key=sort_key):
        cells = {metric: estimates[comparison].get((metric, "ordered"), {}) for metric in METRICS}
        if not cells["aurc"]:
            continue
        keys = sorted(cells["aurc"], key=lambda key: cells["aurc"][key].value)
        of_rows = [run for run in averaged_rows(runs, comparison, estimates, pools) if key_of(run) in keys]
        labels, curves = row_labels(keys), seeds.get(comparison, {})
        name = f"risk-coverage-{file_name(comparison)}"
        shown = [key for key in keys if key in curves] if comparison.split == "test" else []
        lines = {labels[key]: list(curves[key].values()) for key in shown}
        axis, over = "errors among them, percent", "clips answered, the most confident first, percent"
        sections.append(
            {
                "comparison": comparison,
                "row_keys": keys,
                "cells": cells,
                "temperatures": {
                    key: [
                        run["temperature"] for run in of_rows if key_of(run) == key and run["temperature"] is not None
                    ]
                    for key in keys
                },
                "sentences": sorted({run["calibration"] for run in of_rows if run["temperature"] is None}),
                "plot": curve_plot(name, lines, axis, figures, over=over) if lines else "",
            }
        )
    return sections


def class_size_sections(estimates: Estimates, runs: Rows) -> list[dict[str, Any]]:
    """Return the accuracy on head, middle and tail classes by row for each comparison, the best on the tail first."""
    sections = []
    for comparison in sorted(estimates, key=sort_key):
        cells = {name: estimates[comparison].get((f"{name}_accuracy", "ordered"), {}) for name in NAMES}
        cells = {name: by_key for name, by_key in cells.items() if by_key}
        if not cells:
            continue
        rarest = list(cells.values())[-1]
        keys: list[RowKey] = sorted(rarest, key=lambda key: -rarest[key].value)
        of_rows = [run for run in runs if (run["dataset"], run["protocol"]) == comparison[:2]]
        groups: dict[str, Any] = next((json.loads(run["class_groups"]) for run in of_rows if run["class_groups"]), {})
        sections.append(
            {
                "comparison": comparison,
                "row_keys": keys,
                "cells": cells,
                "groups": {name: groups[name] for name in cells if name in groups},
            }
        )
    return sections
