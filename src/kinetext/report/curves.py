"""Learning curves: loss and accuracy after each epoch, from the table `curves`."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kinetext.report.figures.bands import curve_plot
from kinetext.report.keys import RowKey, key_of, row_labels
from kinetext.report.verdicts import VALIDATION_METRICS

AXES = {  # metric -> label of the axis, factor
    "train_loss": ("loss on training clips", 1),
    "val_loss": ("loss on validation clips", 1),
    "val_top1": ("top1 on validation clips, percent", 100),
    "val_map": ("map on validation clips, percent", 100),
    "val_t2v_r1": ("t2v_r1 on validation clips, percent", 100),
}
Points = list[tuple[float, float]]  # epoch, value


def learning_curves(
    rows: list[dict[str, Any]], chance: Mapping[tuple[str, str], float | None], figures: Path
) -> list[dict[str, Any]]:
    """Return the figures of each data set and protocol, one for each metric of AXES that training recorded.

    `chance` is the chance level of top-1 accuracy on validation clips, by data set and protocol. A recorded level
    (`val_chance`) takes precedence.
    """
    seeds: dict[Any, dict[RowKey, dict[int, Points]]] = defaultdict(lambda: defaultdict(dict))
    recorded: dict[tuple[str, str], float] = {}
    for row in rows:
        if row["metric"] == "val_chance" and row["value"] is not None:
            recorded[row["dataset"], row["protocol"]] = row["value"]
        if row["metric"] in AXES and row["value"] is not None:
            points = seeds[row["dataset"], row["protocol"], row["metric"]][key_of(row)].setdefault(row["seed"], [])
            points.append((row["epoch"], row["value"] * AXES[row["metric"]][1]))
    shown = []
    for dataset, protocol in sorted({comparison[:2] for comparison in seeds}):
        plots = []
        for metric, (axis, _) in AXES.items():
            measured = seeds.get((dataset, protocol, metric), {})
            curves = {label: list(measured[key].values()) for key, label in row_labels(sorted(measured)).items()}
            if curves:
                known = chance if metric == "val_top1" else {}
                line = recorded.get((dataset, protocol), known.get((dataset, protocol)))
                line = line if metric in VALIDATION_METRICS.values() else None
                plots.append(curve_plot(f"curves-{metric}-{dataset}-{protocol}", curves, axis, figures, line))
        shown.append({"title": f"{dataset}, {protocol}", "plots": plots})
    return shown
