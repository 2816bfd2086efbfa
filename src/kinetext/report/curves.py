"""Learning curves: what each training said after each epoch, from the table `curves`."""

from collections import defaultdict
from pathlib import Path
from typing import Any

from kinetext.report.estimates import Key, key_of, labels
from kinetext.report.figures import curve_plot

SHOWN = {
    "train_loss": ("loss on training clips", 1),
    "val_loss": ("loss on validation clips", 1),
    "val_top1": ("top1 on validation clips, percent", 100),
    "val_t2v_r1": ("t2v_r1 on validation clips, percent", 100),
}


def learning_curves(rows: list[dict[str, Any]], figures: Path) -> list[dict[str, Any]]:
    """A figure for each data set, protocol and number of SHOWN that was written while training."""
    seeds: dict[Any, dict[Key, dict[int, list[tuple[float, float]]]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        if row["metric"] in SHOWN and row["value"] is not None:
            of_seed = seeds[row["dataset"], row["protocol"], row["metric"]][key_of(row)]
            of_seed.setdefault(row["seed"], []).append((row["epoch"], row["value"] * SHOWN[row["metric"]][1]))
    shown = []
    for dataset, protocol in sorted({at[:2] for at in seeds}):
        plots = []
        for metric, (axis, _) in SHOWN.items():
            measured = seeds.get((dataset, protocol, metric), {})
            curves = {name: list(measured[key].values()) for key, name in labels(sorted(measured)).items()}
            if curves:
                plots.append(curve_plot(f"curves-{metric}-{dataset}-{protocol}", curves, axis, figures))
        shown.append({"title": f"{dataset}, {protocol}", "plots": plots})
    return shown
