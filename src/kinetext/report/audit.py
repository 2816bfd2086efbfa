"""Audit of the clips of `shapes`: accuracies of probes without text, per pair of classes and kind of motion.

`benchmarks/audit.py` measures them and writes them to audit.json, beside this file. An audit is valid for one version of the code
that draws the clips (data/drawing.py), one level of difficulty, and frames as drawn or as decoded from H.264.
"""

import json
import math
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from kinetext.core.files import atomic_write
from kinetext.core.tables import read_metadata, read_rows
from kinetext.evaluation.intervals import share_interval
from kinetext.report.sources import DatasetFiles

AUDITS = Path(__file__).with_name("audit.json")
PROBES = {  # probe -> its words in the report
    "mean": "mean of all frames",
    "first_last": "first and last frame",
    "thirds": "first and last third",
    "all": "all frames, linear",
    "gru": "all frames, GRU",
}
VISIBLE = 0.9  # least accuracy of the GRU at which a motion counts as visible
KEYS = ("level", "frames", "version", "train_clips")  # of an audit


@dataclass(frozen=True)
class AuditRow:
    """The accuracy of each probe within two classes of a pair, and the number of test clips."""

    kind: str
    pair: str
    classes: tuple[str, str]
    accuracy: dict[str, float]
    clips: int


def must_be_at_chance(kind: str, pair: str) -> tuple[str, ...]:
    """Return the probes whose accuracy on a pair must be at chance."""
    if kind == "count" or pair == "anywhere":
        return tuple(PROBES)[:-1]
    return ("mean",) if kind == "reversal" else ("mean", "first_last")


def interval(row: AuditRow, probe: str, level: float = 0.95) -> tuple[float, float]:
    """Return the interval of an accuracy."""
    return share_interval(row.accuracy[probe], 0.0, math.inf, row.clips, level)


def faults(rows: list[AuditRow]) -> list[tuple[int, str]]:
    """Return the cells (number of the row, probe) that break the rules of the audit.

    At chance means that one half is within an interval whose level is corrected for the number of such cells. The GRU
    must reach VISIBLE everywhere.
    """
    cells = [(number, probe) for number, row in enumerate(rows) for probe in must_be_at_chance(row.kind, row.pair)]
    level = 1 - 0.05 / max(1, len(cells))
    broken = []
    for number, probe in cells:
        low, high = interval(rows[number], probe, level)
        if not low <= 0.5 <= high:
            broken.append((number, probe))
    return broken + [(number, "gru") for number, row in enumerate(rows) if row.accuracy["gru"] < VISIBLE]


@cache
def read_audits(path: Path = AUDITS) -> list[dict[str, Any]]:
    """Return the audits of a file, each with the values of KEYS and `rows` (AuditRow); empty if there is no file."""
    audits = json.loads(path.read_text("utf-8")) if path.is_file() else []
    return [
        audit | {"rows": [AuditRow(**{**row, "classes": tuple(row["classes"])}) for row in audit["rows"]]}
        for audit in audits
    ]


def write_audit(path: Path, key: dict[str, Any], rows: list[AuditRow]) -> None:
    """Add an audit to a file. It replaces rows of the same classes, and audits of the same level by other versions."""
    kept, old = [], []
    for audit in read_audits(path):
        if all(audit[name] == key[name] for name in KEYS):
            old = [row for row in audit["rows"] if row.classes not in {new.classes for new in rows}]
        elif (audit["level"], audit["frames"]) != (key["level"], key["frames"]):
            kept.append(audit)
    audits = sorted([*kept, {**key, "rows": [*old, *rows]}], key=lambda audit: (audit["level"], audit["frames"]))
    lines = [
        json.dumps({name: audit[name] for name in KEYS})[:-1]
        + ', "rows": [\n'
        + ",\n".join(json.dumps(asdict(row)) for row in audit["rows"])
        + "\n]}"
        for audit in audits
    ]
    with atomic_write(path) as part:
        part.write_text(f"[{','.join(lines)}]\n", "utf-8")
    read_audits.cache_clear()


def audit_sections(datasets: list[DatasetFiles], path: Path = AUDITS) -> list[dict[str, Any]]:
    """Return the audits of each data set of drawn clips, on its level, restricted to its classes.

    A data set without a valid audit has `missing`, a sentence with the reason.
    """
    sections = []
    for dataset in datasets:
        drawing = read_metadata(dataset.clips).get("drawn")
        if not drawing:
            continue
        labels = {row["label"] for row in read_rows("clips", dataset.clips)}
        of_level = [audit for audit in read_audits(path) if audit["level"] == drawing["level"]]
        valid = [audit for audit in of_level if audit["version"] == drawing["version"]]
        parts = [part for audit in valid if (part := _part(audit, labels))]
        section = {"dataset": dataset.name, "level": drawing["level"], "parts": parts, "missing": ""}
        if not parts and drawing["version"] is None:
            section["missing"] = (
                "The version of the drawing code that drew these clips is unknown, or several versions did."
            )
        elif not parts:
            section["missing"] = (
                f"The audit of level {drawing['level']} was made with another version of the drawing code "
                f"({', '.join(audit['version'] for audit in of_level)}; these clips: {drawing['version']})."
                if of_level and not valid
                else f"These motions have not been audited on level {drawing['level']}."
            )
        sections.append(section)
    return sections


def _part(audit: dict[str, Any], labels: set[str]) -> dict[str, Any] | None:
    """Return the rows of an audit about the classes, by kind, with the interval and mark of each cell."""
    rows = [row for row in audit["rows"] if set(row.classes) <= labels]
    broken = set(faults(audit["rows"]))
    marked = {row.classes: {p for n, p in broken if audit["rows"][n] is row} for row in rows}
    kinds: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        cells = [(row.accuracy[p], *interval(row, p), p in marked[row.classes]) for p in PROBES]
        kinds.setdefault(row.kind, []).append({"classes": row.classes, "clips": row.clips, "cells": cells})
    return {**{name: audit[name] for name in KEYS}, "kinds": kinds} if rows else None
