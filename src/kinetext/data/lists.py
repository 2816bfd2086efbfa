"""What the loaders of official list files share: reading lists with errors that name the line, and finding listed videos.

One scan of the root answers for all names, whatever suffix or folder a list gives them.
"""

import csv
import difflib
import hashlib
import json
import math
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field

from kinetext.core.plugins import Options, nearest
from kinetext.data.datasets import Clip

SUFFIXES = {".mp4", ".avi", ".webm", ".mkv", ".mov", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".3gp"}


class RecognitionOptions(Options):
    """What the official recognition data sets ask for alike."""

    root: str = Field(description="folder of the videos")
    annotations: str = Field(description="folder of the official lists, as published")
    val_share: float = Field(0.0, ge=0, lt=1, description="share of the training clips set aside for validation")
    seed: int = Field(0, ge=0, description="of the draw that sets them aside; no effect with val_share 0")


def need_folder(path: str, key: str) -> Path:
    """The folder that the option `key` names. Raises ValueError if there is none, saying where the path ends."""
    folder = Path(path).expanduser().absolute()
    if not folder.is_dir():
        parent = next(parent for parent in folder.parents if parent.is_dir())
        raise ValueError(f"{key}: no folder {folder}; what there is ends at {parent}")
    return folder


def need_path(path: str, key: str) -> Path:
    """The file that the option `key` names. Raises ValueError if there is none."""
    file = Path(path).expanduser().absolute()
    if not file.is_file():
        raise ValueError(f"{key}: there is no file {file}")
    return file


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
    """The rows of a csv file with a header, with their line numbers. Raises ValueError if a column or a value is missing,
    if a row has more values than there are columns, as with a comma that was not quoted, or if it is not in UTF-8.
    """
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        rows = csv.DictReader(file, delimiter=delimiter, skipinitialspace=True)
        for column in columns:
            if column not in (rows.fieldnames or []):
                raise ValueError(f"{path}: no column '{column}'{nearest(column, list(rows.fieldnames or []))}")
        for row in rows:
            if any(row.pop(None, [])):  # type: ignore[call-overload]
                raise ValueError(f"{path}:{rows.line_num}: more values than columns; quote what holds a '{delimiter}'")
            text = " ".join(filter(None, row.values()))
            if text != printable(text):
                raise ValueError(f"{path}:{rows.line_num}: '{printable(text)}' is not UTF-8; save the file as UTF-8")
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


def read_entries(path: Path, *keys: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a JSON list, each with its place for errors. Raises ValueError if one lacks a key."""
    for number, entry in enumerate(read_json(path, list), 1):
        place = f"{path}: entry {number}"
        if not isinstance(entry, dict):
            raise ValueError(f"{place} is {entry!r}; it must be an object with {', '.join(keys)}")
        for key in keys:
            if key not in entry:
                raise ValueError(f"{place} has no '{key}'{nearest(key, list(entry))}")
        yield place, entry


def known_class(name: str, classes: Collection[str], place: str, source: str) -> str:
    """`name`, if it is one of the classes. Raises ValueError with the place, the nearest class and where they are from."""
    if name in classes:
        return name
    close = difflib.get_close_matches(name, classes, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    raise ValueError(f"{place}: '{printable(name)}' is none of the {len(classes)} classes of {source}{hint}")


def seconds(text: str, place: str, column: str) -> float:
    """A time of a list, in seconds; integers may be written as 10.0. Raises ValueError with the place if it is none."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{place}: {column} is '{printable(text)}'; it must be a number of seconds, 0 or more")
    return value


def printable(name: str) -> str:
    """A name as a table can hold it: bytes that are no UTF-8 are written out."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def file_state(path: str) -> tuple[int, ...]:
    """The size of a file and when it changed; nothing if it is absent."""
    try:
        about = os.stat(path)
    except OSError:
        return ()
    return about.st_size, about.st_mtime_ns


def sha256(path: Path) -> str:
    """A file's checksum, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def set_aside(clips: Iterable[Clip], share: float, seed: int) -> Iterator[Clip]:
    """The clips, a share of those for training made validation clips: by the name of each, so that others change nothing,
    or by its group, so that cuts of one video stay on one side.
    """
    for clip in clips:
        if clip.split == "train":
            digest = hashlib.sha256(f"{seed} {clip.group or clip.clip_id}".encode(errors="surrogateescape")).digest()
            if int.from_bytes(digest[:8], "big") < share * 2**64:
                clip = replace(clip, split="val")
        yield clip


class Videos:
    """The video files below a root, found by the names that lists give them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._top = f"{os.path.normpath(root).rstrip('/')}/"
        self.names = set(scan(root))
        self._by_stem: dict[str, list[str]] = {}
        for name in self.names:
            for stem in {_stem(name), _stem(name).rpartition("/")[2]}:
                self._by_stem.setdefault(stem, []).append(name)

    def find(self, *names: str) -> tuple[Path, str | None]:
        """Where a video is that may have any of these names (paths below the root), and why it may not be used, or None.

        A list's suffix is often not the file's (DiDeMo, converted data sets): without an exact match one file of the same
        path but for the suffix is taken, case kept. A bare name may lie in any folder, if in one only (MSR-VTT's videos
        come in two). Absent files get the first of the paths that they could have.
        """
        found = next((name for name in names if name in self.names), None)
        if found is None:
            found = next((self._by_stem[_stem(name)][0] for name in names if self._is_one(_stem(name))), None)
        if found is None:
            inside = os.path.normpath(os.path.join(self._top, names[0]))
            if not inside.startswith(self._top):
                error = f"outside_root: the list names {printable(names[0])}, which is not in {self.root}"
                return Path(printable(inside)), error
            found = inside.removeprefix(self._top)
            if found not in self.names and self._is_one(_stem(found)):
                found = self._by_stem[_stem(found)][0]
        if found != printable(found):
            return self.root / printable(found), "odd_name: not in UTF-8; rename the file, in the list as well"
        return self.root / found, None

    def _is_one(self, stem: str) -> bool:
        return len(self._by_stem.get(stem, [])) == 1


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
                elif os.path.splitext(entry.name)[1].lower() in SUFFIXES and (
                    not entry.is_symlink() or os.path.exists(entry.path)
                ):
                    yield name


def _stem(name: str) -> str:
    """A path without its video suffix; other dots belong to the name."""
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in SUFFIXES else name
