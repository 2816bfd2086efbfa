"""Read annotation files, with errors that name the file and the line."""

import csv
import difflib
import hashlib
import json
import math
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from kinetext.core.plugins import nearest


def need_folder(path: str, key: str) -> Path:
    """Return the folder that the option `key` names.

    Raises ValueError, with the nearest existing parent, if it does not exist.
    """
    folder = Path(path).expanduser().absolute()
    if not folder.is_dir():
        parent = next(parent for parent in folder.parents if parent.is_dir())
        raise ValueError(f"{key}: no folder {folder}; nearest existing parent: {parent}")
    return folder


def need_path(path: str, key: str) -> Path:
    """Return the file that the option `key` names. Raises ValueError if it does not exist."""
    file = Path(path).expanduser().absolute()
    if not file.is_file():
        raise ValueError(f"{key}: there is no file {file}")
    return file


def need_file(folder: Path, *names: str) -> Path:
    """Return the path of the first of these names that is a file in the folder.

    Raises ValueError, with the most similar name in the folder, if none is.
    """
    for name in names:
        if (folder / name).is_file():
            return folder / name
    present = sorted(path.name for path in folder.iterdir())
    raise ValueError(f"annotations: {folder} has no {' or '.join(names)}{nearest(names[0], present)}")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line) for each line of a text file that is not blank.

    Bytes that are not UTF-8 are kept (surrogateescape), because file names of HMDB51 contain them. Raises ValueError if
    the file is UTF-16.
    """
    refuse_utf16(path)
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, line.rstrip("\r\n")


def read_csv(path: Path, *columns: str, delimiter: str = ",") -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, row) for each row of a csv file with a header. A row maps column names to values.

    Raises ValueError if one of `columns` or a value is missing, if a row has more values than there are columns (e.g.
    because of a comma without quotes), or if the file is not UTF-8 text.
    """
    refuse_utf16(path)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        rows = csv.DictReader(file, delimiter=delimiter, skipinitialspace=True)
        for column in columns:
            if column not in (rows.fieldnames or []):
                header = delimiter.join(rows.fieldnames or [])
                other = next((sign for sign in "\t;,|" if sign != delimiter and sign in header), None)
                if other is not None:
                    raise ValueError(
                        f"{path}: the header is separated by {other!r}, not by {delimiter!r}; save the file with "
                        f"{delimiter!r}, or set delimiter of the data set csv"
                    )
                raise ValueError(f"{path}: no column '{column}'{nearest(column, list(rows.fieldnames or []))}")
        for row in _each_row(rows, path):
            if any(row.pop(None, [])):  # type: ignore[call-overload]
                raise ValueError(
                    f"{path}:{rows.line_num}: more values than columns; quote values that contain '{delimiter}'"
                )
            text = " ".join(filter(None, row.values()))
            if text != printable(text):
                raise ValueError(f"{path}:{rows.line_num}: '{printable(text)}' is not UTF-8; save the file as UTF-8")
            if "\0" in text:
                raise ValueError(f"{path}:{rows.line_num}: has a NUL byte; remove it, or save the file as UTF-8")
            absent = [column for column in columns if row[column] is None]
            if absent:
                raise ValueError(f"{path}:{rows.line_num}: no value for column '{absent[0]}'")
            yield rows.line_num, row


def _each_row(rows: "csv.DictReader[str]", path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a csv file. Raises ValueError, with file and line, if a row cannot be split into values."""
    try:
        yield from rows
    except csv.Error as error:
        raise ValueError(f"{path}:{rows.line_num}: {error}; is a quote not closed?") from None


def refuse_utf16(path: Path) -> None:
    """Raise ValueError if a text file begins like UTF-16: with a byte order mark, or with NUL in every other byte."""
    with path.open("rb") as file:
        start = file.read(4)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff") or (len(start) == 4 and 0 in (start[0], start[1])):
        raise ValueError(f"{path}: is UTF-16; save the file as UTF-8 (in Excel: CSV UTF-8)")


def read_json(path: Path, kind: type) -> Any:
    """Return the content of a JSON file, a list or a dict as `kind` states.

    Raises ValueError, with the path, if the file is not JSON or contains another type.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}") from None
    if not isinstance(content, kind):
        raise ValueError(f"{path}: contains a {type(content).__name__}; the official file contains a {kind.__name__}")
    return content


def read_entries(path: Path, *keys: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (position, object) for each object of a JSON list; the position is text for error messages.

    Raises ValueError if the file is not a JSON list, or if an entry is not an object or lacks one of `keys`.
    """
    for number, entry in enumerate(read_json(path, list), 1):
        where = f"{path}: entry {number}"
        if not isinstance(entry, dict):
            raise ValueError(f"{where} is {entry!r}; it must be an object with {', '.join(keys)}")
        for key in keys:
            if key not in entry:
                raise ValueError(f"{where} has no '{key}'{nearest(key, list(entry))}")
        yield where, entry


def known_class(name: str, classes: Collection[str], where: str, source: str) -> str:
    """Return `name` if it is one of `classes`.

    Otherwise raises ValueError with `where` (the file and line of the name), `source` (the file of the classes), and
    the most similar class.
    """
    if name in classes:
        return name
    close = difflib.get_close_matches(name, classes, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    raise ValueError(f"{where}: '{printable(name)}' is none of the {len(classes)} classes of {source}{hint}")


def seconds(text: str, where: str, column: str) -> float:
    """Return the text of a column as a time in seconds.

    Raises ValueError, with `where` (file and line), if it is not a finite number of 0 or more.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{where}: {column} is '{printable(text)}'; it must be a number of seconds, 0 or more")
    return value


def printable(name: str) -> str:
    r"""Return a name as a table can store it: bytes that are not UTF-8 become \\x escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def file_state(path: str) -> tuple[int, ...]:
    """Return the size of a file in bytes and its modification time in ns; an empty tuple if the file is absent."""
    try:
        stat = os.stat(path)
    except OSError:
        return ()
    return stat.st_size, stat.st_mtime_ns


def video_hash(path: str) -> str | None:
    """Return the SHA-256 checksum of a file; None if it is absent, unreadable or not a regular file."""
    try:
        return sha256(Path(path)) if os.path.isfile(path) else None
    except OSError:
        return None


def sha256(path: Path) -> str:
    """Return the SHA-256 checksum of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
