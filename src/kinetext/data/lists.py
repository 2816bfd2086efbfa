"""What the loaders of official list files share: reading lists with errors that name the line, and finding listed videos.

One scan of the root answers for all names: asking a network disk for each of 300 000 files takes minutes.
"""

import csv
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from kinetext.registry import nearest

SUFFIXES = {".mp4", ".avi", ".webm", ".mkv", ".mov", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".3gp"}


def need_folder(path: str, key: str) -> Path:
    """The folder that the option `key` names. Raises ValueError if there is none, saying where the path ends."""
    folder = Path(path).expanduser().absolute()
    if not folder.is_dir():
        parent = next(parent for parent in folder.parents if parent.is_dir())
        raise ValueError(f"{key}: no folder {folder}; what there is ends at {parent}")
    return folder


def need_file(folder: Path, *names: str) -> Path:
    """The first of these files that is in the folder. Raises ValueError, with the nearest name there, if none is."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    there = sorted(path.name for path in folder.iterdir())
    raise ValueError(f"annotations: {folder} has no {' or '.join(names)}{nearest(names[0], there)}")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file that are not blank, with their numbers from 1. Bytes that are no UTF-8 are kept
    (surrogateescape), as file names of HMDB51 have them.
    """
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, line.rstrip("\r\n")


def read_csv(path: Path, *columns: str, delimiter: str = ",") -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a csv file with a header, with their line numbers. Raises ValueError if a column or a value is missing."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, delimiter=delimiter, skipinitialspace=True)
        for column in columns:
            if column not in (rows.fieldnames or []):
                raise ValueError(f"{path}: no column '{column}'{nearest(column, list(rows.fieldnames or []))}")
        for row in rows:
            absent = [column for column in columns if row[column] is None]
            if absent:
                raise ValueError(f"{path}:{rows.line_num}: no value for column '{absent[0]}'")
            yield rows.line_num, row


def read_json(path: Path, kind: type) -> Any:
    """The content of a JSON file, a list or a dict. Raises ValueError, with the place, if it is not."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{path}: is not JSON; {error}") from None
    if not isinstance(content, kind):
        raise ValueError(f"{path}: holds a {type(content).__name__}; the official file holds a {kind.__name__}")
    return content


def sha256(path: Path) -> str:
    """A file's checksum, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Videos:
    """The video files below a root, found by the names that lists give them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.names = set(scan(root))
        self._by_stem: dict[str, list[str]] = {}
        for name in self.names:
            self._by_stem.setdefault(_stem(name), []).append(name)

    def find(self, name: str) -> tuple[Path, str | None]:
        """Where the video `name` (a path below the root) is, and why it may not be used, or None.

        A list's suffix is often not the file's (DiDeMo, converted data sets): without an exact match one file of the same
        path but for the suffix is taken, case kept. Absent files get the path they should have.
        """
        if name in self.names:
            return self.root / name, None
        inside = os.path.normpath(self.root / name)
        if not Path(inside).is_relative_to(self.root) or inside == str(self.root):
            return Path(inside), f"outside_root: the list names {name}, which is not in {self.root}"
        name = str(PurePosixPath(os.path.relpath(inside, self.root)))
        others = self._by_stem.get(_stem(name), [])
        if name not in self.names and len(others) == 1:
            name = others[0]
        return self.root / name, None


def scan(root: Path) -> Iterator[str]:
    """The video files below a root, as paths from there, links followed; what begins with a dot is passed over."""
    folders = [""]
    while folders:
        below = folders.pop()
        with os.scandir(root / below) as entries:
            for entry in entries:
                if entry.name[0] == ".":
                    continue
                name = f"{below}/{entry.name}" if below else entry.name
                if entry.is_dir():
                    folders.append(name)
                elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
                    yield name


def _stem(name: str) -> str:
    """A path without its video suffix; other dots belong to the name."""
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in SUFFIXES else name
