"""Find the videos that users name on the command line: files, folders, and lists of files."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from kinetext.core.plugins import nearest
from kinetext.data.lists import read_csv, read_lines, seconds
from kinetext.data.videos import scan

LISTS = (".txt", ".csv")  # suffixes of lists


class Video(NamedTuple):
    """A video file, or the part of it from `start_s` to `end_s` (seconds)."""

    path: Path
    start_s: float | None = None
    end_s: float | None = None


def find_videos(inputs: Iterable[Path]) -> list[Video]:
    """Return the videos of the inputs in order. An input is a file, a folder or a list.

    Folders are searched with all folders below them. A list is a text file with one path per line, or a csv file with
    the column `path` and optionally `start_s` and `end_s`. Its paths are relative to the folder of the list. Raises
    ValueError for a folder or list without videos, and, with the most similar name, for a single input that does not
    exist. If there are several inputs, a missing file is returned like the others.
    """
    inputs, videos = list(inputs), []
    for path in inputs:
        if path.is_dir():
            listed = [Video(path / name) for name in sorted(scan(path))]
        elif path.suffix.lower() in LISTS and path.is_file():
            listed = list(_read_list(path))
        elif path.exists() or len(inputs) > 1:
            listed = [Video(path)]
        else:
            beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
            raise ValueError(f"{path}: there is no such file{nearest(path.name, beside)}")
        if not listed:
            raise ValueError(f"{path}: holds no video")
        videos += listed
    return videos


def _read_list(path: Path) -> Iterator[Video]:
    if path.suffix.lower() == ".txt":
        for _, line in read_lines(path):
            yield Video(path.parent / line.strip())
        return
    for number, row in read_csv(path, "path"):
        where = f"{path}:{number}"
        start_s, end_s = (
            seconds(row[column], where, column) if row.get(column) else None for column in ("start_s", "end_s")
        )
        yield Video(path.parent / row["path"], start_s, end_s)
