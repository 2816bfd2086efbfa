"""Classes that were never trained on, beside those that were, in the terms of papers on base-to-novel generalisation: accuracy on
trained classes, on new ones, and their harmonic mean (CoCoOp, CVPR 2022; of videos ViFi-CLIP, CVPR 2023), which is high only
if both are.
"""

from pathlib import Path
from typing import Any

from kinetext.config.report import ReportOptions
from kinetext.report.comparisons import headline_of
from kinetext.report.estimates import Estimates, file_name, labels, order
from kinetext.report.figures import Estimate, Row, dot_plot

COLUMNS = {"test": "trained classes", "novel": "never seen", "novel_among_all": "never seen, among all"}


def novel_classes(
    found: Estimates, options: ReportOptions, help_by_split: dict[tuple[str, str, str], Any], figures: Path
) -> list[dict[str, Any]]:
    """A table for each data set and protocol with new classes. `help_by_split` has what descriptions add, by comparison.

    The harmonic mean takes the new classes' clips scored among all classes, where a method cannot win by favouring the
    new ones; where that was not predicted, among the new ones only, as the papers do.
    """
    shown = []
    for at in sorted((at for at in found if at[2] == "novel"), key=order):
        measured = {split: found[*at[:2], split] for split in COLUMNS if (*at[:2], split) in found}
        if "test" not in measured:
            continue
        metric = headline_of(measured["novel"], options)[0]
        cells = {split: one.get((metric, "ordered"), {}) for split, one in measured.items()}
        keys = [key for key in cells["test"] if all(key in own for own in cells.values())]
        hard = "novel_among_all" if "novel_among_all" in cells else "novel"
        means = {key: harmonic_mean(cells["test"][key], cells[hard][key]) for key in keys}
        keys.sort(key=lambda key: -means[key].value)
        called = labels(keys)
        rows: list[Row] = [(called[k], [(COLUMNS[split], own[k]) for split, own in cells.items()]) for k in keys]
        plot = dot_plot(f"novel-{file_name(at[:2])}", rows, f"{metric}, percent", figures)
        shown.append(
            {
                "at": at,
                "metric": metric,
                "order": keys,
                "columns": {COLUMNS[split]: own for split, own in cells.items()},
                "harmonic": means,
                "hard": COLUMNS[hard],
                "help": help_by_split.get((*at[:2], hard), []),
                "plot": plot,
            }
        )
    return shown


def harmonic_mean(base: Estimate, new: Estimate) -> Estimate:
    """2 ab / (a + b) of two independent shares. Each end is as far from it as the root of the summed squares of how far
    it moves when one share is moved to its end (square-and-add: Newcombe, Statistics in Medicine 2001).
    """

    def of(a: float, b: float) -> float:
        return 2 * a * b / (a + b) if a + b else 0.0

    value = of(base.value, new.value)
    low = value - ((value - of(base.low, new.value)) ** 2 + (value - of(base.value, new.low)) ** 2) ** 0.5
    high = value + ((of(base.high, new.value) - value) ** 2 + (of(base.value, new.high) - value) ** 2) ** 0.5
    seeds, clips = min(base.seeds, new.seeds), base.clips + new.clips
    return Estimate(value, max(0.0, low), min(1.0, high), value, value, seeds, clips, base.datasets)
