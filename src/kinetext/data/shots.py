"""Select the training clips of a few-shot protocol: at random, or from a list."""

import random
import sys
from pathlib import Path
from typing import Any

from kinetext.core.plugins import nearest
from kinetext.data.lists import read_lines
from kinetext.data.vificlip import has_swapped_numbers

Rows = list[dict[str, Any]]


def draw_clips(rows: Rows, shots: int, draw: int) -> Rows:
    """Return at most `shots` random clips of each class, in the order of the rows.

    The clips drawn for a class depend only on `draw` and the class, not on other classes.
    """
    by_label: dict[str, list[str]] = {}
    for row in rows:
        by_label.setdefault(row["label"], []).append(row["clip_id"])
    kept: set[str] = set()
    for label, clip_ids in by_label.items():
        generator = random.Random(f"{draw} {label}")
        kept.update(generator.sample(sorted(clip_ids), min(shots, len(clip_ids))))
    return [row for row in rows if row["clip_id"] in kept]


def listed_clips(path: Path, rows: Rows, labels: list[str]) -> Rows:
    """Return the training clips that a file lists.

    Each line has a clip_id or a file name, and may end with the number of a class, as in ViFi-CLIP's lists. The number
    is not used: a clip keeps its class. A message is printed if the numbers are swapped as in ViFi-CLIP's lists of
    HMDB51. Raises ValueError for a clip that is listed twice, is not among the rows, or shares its file name with
    others.
    """
    by_name: dict[str, Rows] = {}
    for row in rows:
        for name in {row["clip_id"], Path(row["clip_id"]).name}:
            by_name.setdefault(name, []).append(row)
    listed: Rows = []
    numbered: list[tuple[str, int]] = []
    for number, line in read_lines(path):
        name, *rest = line.rsplit(maxsplit=1)
        matches = by_name.get(line.strip()) or by_name.get(name, [])
        if len(matches) == 1 and matches[0] in listed:
            raise ValueError(f"{path}:{number}: '{line}' is also in an earlier line; list each clip once")
        if len(matches) != 1:
            count = f"matches {len(matches)} training clips" if matches else "is not a training clip"
            raise ValueError(f"{path}:{number}: '{line}' {count}{nearest(line, list(by_name)[:2000])}")
        listed += matches
        if rest and rest[0].isdecimal():
            numbered.append((matches[0]["label"], int(rest[0])))
    if has_swapped_numbers(labels, numbered):
        print(
            f"{path}: the class numbers of kick and kick ball, or sword and sword exercise, are swapped, as in ViFi-CLIP's "
            "lists of HMDB51. Each clip keeps its own class here; published numbers with this list include the swap",
            file=sys.stderr,
        )
    return listed
