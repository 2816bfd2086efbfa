"""Find the video files below a folder, and the files that the names in a list refer to."""

import os
from collections.abc import Iterator
from pathlib import Path

from kinetext.data.lists import printable

SUFFIXES = {
    ".mp4",
    ".m4v",
    ".mov",
    ".qt",
    ".3gp",
    ".3g2",
    ".mkv",
    ".webm",
    ".avi",
    ".divx",
    ".wmv",
    ".asf",
    ".flv",
    ".f4v",
    ".mpg",
    ".mpeg",
    ".mpe",
    ".m2v",
    ".vob",
    ".ts",
    ".mts",
    ".m2ts",
    ".ogv",
    ".mxf",
    ".gif",
    ".y4m",
    ".h264",
    ".hevc",
}


class Videos:
    """Find the video files below a root by the names in lists. The root is scanned once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._prefix = f"{os.path.normpath(root).rstrip('/')}/"
        self.names = set(scan(root))
        self._by_stem: dict[str, list[str]] = {}
        for name in self.names:
            for stem in {_stem(name), _stem(name).rpartition("/")[2]}:
                self._by_stem.setdefault(stem, []).append(name)

    def find(self, *names: str) -> tuple[Path, str | None]:
        """Return (path, error) of the video that has one of these names relative to the root.

        The suffix in a list often differs from that of the file (DiDeMo, converted data sets). Without an exact match,
        a file with the same path except for the suffix is taken; upper and lower case differ. A name without a folder
        matches in any folder if only one folder contains it (MSR-VTT has two folders). If no file matches, the path is
        that of the first name. The error is None unless the path is outside the root or is not UTF-8.
        """
        match = next((name for name in names if name in self.names), None)
        if match is None:
            match = next((self._by_stem[_stem(name)][0] for name in names if self._is_unique(_stem(name))), None)
        if match is None:
            path = os.path.normpath(os.path.join(self._prefix, names[0]))
            if not path.startswith(self._prefix):
                error = f"outside_root: the list names {printable(names[0])}, which is not in {self.root}"
                return Path(printable(path)), error
            match = path.removeprefix(self._prefix)
            if match not in self.names and self._is_unique(_stem(match)):
                match = self._by_stem[_stem(match)][0]
        if match != printable(match):
            return self.root / printable(match), "odd_name: not UTF-8; rename the file, also in the list"
        return self.root / match, None

    def _is_unique(self, stem: str) -> bool:
        return len(self._by_stem.get(stem, [])) == 1


def is_video(name: str) -> bool:
    """Return whether a file name has a video suffix and is not hidden."""
    return name[0] != "." and os.path.splitext(name)[1].lower() in SUFFIXES


def scan(root: Path) -> Iterator[str]:
    """Yield the relative paths of the video files below a root.

    Links are followed; hidden files and folders are skipped. Raises ValueError if a link leads to a folder that
    contains it.
    """
    folders = [""]
    while folders:
        folder = folders.pop()
        with os.scandir(root / folder) as entries:
            for entry in entries:
                name = f"{folder}/{entry.name}" if folder else entry.name
                if entry.name[0] == ".":
                    continue
                if os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir():
                    if entry.is_symlink():
                        refuse_loop(entry.path)
                    folders.append(name)
                elif is_video(entry.name) and (not entry.is_symlink() or os.path.exists(entry.path)):
                    yield name


def refuse_loop(link: str) -> None:
    """Raise ValueError if a link leads to a folder that contains it."""
    target = os.path.realpath(link)
    folders = Path(os.path.abspath(link)).parents  # two links in two folders can make a loop, too
    if any(Path(os.path.realpath(folder)).is_relative_to(target) for folder in folders):
        raise ValueError(f"root: the link {printable(link)} leads back to {printable(target)}; remove the link")


def _stem(name: str) -> str:
    """Return a path without its video suffix. Any other suffix is kept as part of the name."""
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in SUFFIXES else name
