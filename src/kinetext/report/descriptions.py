"""Do motion descriptions help? Each method with descriptions against the same method with every other text, clip by clip.

What an image-text model gains from longer texts need not come from what they say (WaffleCLIP, ICCV 2023: random words do
nearly as well on images). So the answer is a row of paired differences: descriptions less names, less templates, and less
each control, each with its interval and p, and a sentence that says no more than the tests do, corrected for their number.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kinetext.core.tables import read_metadata, read_rows
from kinetext.report.estimates import Difference, Key, corrected, labels, method_names
from kinetext.report.figures import Row, dot_plot

VERDICTS = ("ahead of", "not told apart from", "behind")


def described_tables(texts: list[Path], named: Sequence[str]) -> list[str]:
    """The names of the tables of texts that hold motion descriptions: those `named`, or those with rows of kind motion
    that are no control (metadata `control`). Raises ValueError if a named one is not there.
    """
    names = list(dict.fromkeys(path.stem for path in texts))
    for name in named:
        if name not in names:
            raise ValueError(f"report.descriptions: no texts '{name}' were made; known: {', '.join(names)}")
    if named:
        return list(named)
    found = [
        path.stem
        for path in texts
        if not control_of(path) and any(r["kind"] == "motion" for r in read_rows("texts", path))
    ]
    return list(dict.fromkeys(found))


def control_of(path: Path) -> str | None:
    """Which control a table of texts is, as `describe_classes` notes; None for names and descriptions."""
    return read_metadata(path).get("control")


def against_others(
    name: str, keys: list[Key], apart: dict[tuple[Key, Key], Difference], described: list[str], figures: Path
) -> list[dict[str, Any]]:
    """For each table of descriptions: by how much every method is better with it than with each other texts.

    `apart` has the paired difference of every two rows of the comparison `name`.
    """
    shown = []
    for texts in described:
        others = sorted({key.texts for key in keys} - {texts}, key=lambda other: (other != "names", other))
        ours = method_names(key for key in keys if key.texts == texts)
        family = {
            key._replace(texts=other): apart[key, key._replace(texts=other)]
            for key in ours
            for other in others
            if (key, key._replace(texts=other)) in apart
        }
        cells = corrected(family)
        if cells:
            called = labels(cells)
            rows: list[Row] = [
                (called[key], [(ours[key._replace(texts=texts)], estimate)]) for key, estimate in cells.items()
            ]
            axis = f"with {texts} minus with these texts, points"
            plot = dot_plot(f"help-{texts}-{name}", rows, axis, figures, (0.0, "no difference"), sorted(ours.values()))
            of_row = {
                name: {other: cells[k] for other in others if (k := key._replace(texts=other)) in cells}
                for key, name in ours.items()
            }
            sentences = [finding(name, texts, tested) for name, tested in of_row.items() if tested]
            shown.append({"texts": texts, "cells": cells, "plot": plot, "sentences": sentences})
    return shown


def finding(method: str, texts: str, tested: dict[str, Difference]) -> str:
    """What the tests of one method against its other texts say: "With stan, bundled is ahead of names; not told apart from shuffled."""
    verdicts: dict[str, list[str]] = {words: [] for words in VERDICTS}
    for other, apart in tested.items():
        verdicts[verdict(apart)].append(other)
    said = [f"{words} {_listed(others)}" for words, others in verdicts.items() if others]
    return f"With {method}, {texts} is {'; '.join(said)}."


def verdict(difference: Difference) -> str:
    """What the corrected test of a difference says."""
    if not difference.told_apart:
        return VERDICTS[1]
    return VERDICTS[0] if difference.value > 0 else VERDICTS[2]


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
