"""Compare each method with motion descriptions to the same method with every other text set: do descriptions help?

Longer texts may help an image-text model even if their content does not: random words are nearly as good as
descriptions on images (WaffleCLIP, ICCV 2023). So descriptions are compared with class names, with prompt templates and
with every control. Each comparison is a paired difference on the same clips, with an interval and a p-value corrected
for all pairs of rows. The sentences of the report claim no more than these tests show.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kinetext.core.tables import read_metadata, read_rows
from kinetext.evaluation.paired import Difference
from kinetext.report.figures.dots import PlotRow, dot_plot
from kinetext.report.formats import join_names
from kinetext.report.keys import RowKey, method_names, row_labels

BETTER, EQUAL, WORSE = "significantly better than", "not significantly different from", "significantly worse than"


def description_sets(texts: list[Path], names: Sequence[str]) -> list[str]:
    """Return the text sets with motion descriptions: `names`, or by default all that have rows of kind motion.

    Controls are left out by default. Raises ValueError if a name is unknown.
    """
    known = list(dict.fromkeys(path.stem for path in texts))
    for name in names:
        if name not in known:
            raise ValueError(f"report.descriptions: no texts '{name}' were made; known: {', '.join(known)}")
    if names:
        return list(names)
    describing = [
        path.stem
        for path in texts
        if not control_of(path) and any(row["kind"] == "motion" for row in read_rows("texts", path))
    ]
    return list(dict.fromkeys(describing))


def control_of(path: Path) -> str | None:
    """Return which control a text set is, as `describe_classes` records it; None if no control is recorded."""
    return read_metadata(path).get("control")


def compare_texts(
    name: str,
    keys: list[RowKey],
    differences: dict[tuple[RowKey, RowKey], Difference],
    descriptions: list[str],
    figures: Path,
) -> list[dict[str, Any]]:
    """Return, for each set of descriptions, the difference of every method between it and each other text set.

    Two sets of descriptions are compared once. `name` is the comparison in file names. `differences` has the paired
    differences between every two rows of the comparison.
    """
    shown = []
    for number, texts in enumerate(descriptions):
        seen = {texts, *descriptions[:number]}  # two sets of descriptions are compared once, not again mirrored
        others = sorted({key.texts for key in keys} - seen, key=lambda other: (other != "names", other))
        methods = method_names(key for key in keys if key.texts == texts)
        cells = {
            other_key: differences[key, other_key]
            for key in methods
            for other_key in (key._replace(texts=other) for other in others)
            if (key, other_key) in differences
        }
        if cells:
            labels = row_labels(cells)
            rows: list[PlotRow] = [
                (labels[key], [(methods[key._replace(texts=texts)], difference)]) for key, difference in cells.items()
            ]
            axis = f"with {texts} minus with these texts, points"
            zero = (0.0, "no difference")
            plot = dot_plot(f"help-{texts}-{name}", rows, axis, figures, zero, sorted(methods.values()))
            sentences = []
            for key, method in methods.items():
                tests = {k.texts: cells[k] for k in cells if k.backbone_method == key.backbone_method}
                sentences += [verdict_sentence(method, texts, tests)] if tests else []
            shown.append({"texts": texts, "cells": cells, "plot": plot, "sentences": sentences})
    return shown


def verdict_sentence(method: str, texts: str, tests: dict[str, Difference]) -> str:
    """Return what the tests of one text set against the others show for a method.

    For example: "With stan, bundled is significantly better than names; not significantly different from shuffled."
    """
    by_verdict: dict[str, list[str]] = {BETTER: [], EQUAL: [], WORSE: []}
    for other, difference in tests.items():
        by_verdict[verdict(difference)].append(other)
    parts = [f"{words} {join_names(others)}" for words, others in by_verdict.items() if others]
    return f"With {method}, {texts} is {'; '.join(parts)}."


def verdict(difference: Difference) -> str:
    """Return BETTER, EQUAL or WORSE, according to the corrected test of a difference."""
    if not difference.significant:
        return EQUAL
    return BETTER if difference.value > 0 else WORSE
