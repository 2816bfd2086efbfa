"""Turn unpacked archives into the folders that data sets read: `videos`, and `annotations` for the official lists."""

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from kinetext.data.fetch.sources import File, Source
from kinetext.data.fetch.unpack import Budget, is_archive, unpack

DEPTH = 2  # HMDB51 is an archive of one rar per class


def arrange(source: Source, files: Iterable[tuple[File, Path]], folder: Path) -> list[str]:
    """Unpack or copy the downloaded files to `folder`/videos and `folder`/annotations.

    Return the names of archive members that were left out. Everything is prepared in a hidden folder first, so that an
    incomplete folder is never taken for the data set. Raises ValueError if an archive must not be unpacked or if the
    lists are not in it.
    """
    work = folder / ".unpacking"
    shutil.rmtree(work, ignore_errors=True)
    left_out: list[str] = []
    try:
        for file, path in files:
            target = work / file.into
            if is_archive(path):
                left_out += _unpack_nested(path, target, Budget(path), DEPTH)
            else:  # copied, not moved, so that a failure after it loses nothing
                (target / file.name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target / file.name)
        for into in sorted({file.into for file, _ in files}):
            top = _lists_folder(work / into, source) if into == "annotations" else _only_folder(work / into)
            if into == "videos":
                _name_folders(top, source)
            shutil.rmtree(folder / into, ignore_errors=True)
            top.rename(folder / into)
        return left_out
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _unpack_nested(archive: Path, target: Path, budget: Budget, depth: int) -> list[str]:
    """Unpack an archive, and each archive inside it into a folder of the same name. Delete the inner archives.

    Return the names of members that were left out.
    """
    left_out = unpack(archive, target, budget)
    if depth > 1:
        for inner in sorted(path for path in target.rglob("*") if path.suffix in (".rar", ".zip", ".tar")):
            unpacked = inner.with_suffix("")
            part = inner.with_name(f"{inner.name}.unpacked")
            left_out += _unpack_nested(inner, part, budget, depth - 1)
            inner.unlink()
            only = _only_folder(part)
            unpacked.parent.mkdir(parents=True, exist_ok=True)
            only.rename(unpacked)
            shutil.rmtree(part, ignore_errors=True)
    return left_out


def _only_folder(folder: Path) -> Path:
    """Return the folder in which the content begins. Archives often have one folder around everything."""
    while len(entries := list(folder.iterdir())) == 1 and entries[0].is_dir():
        folder = entries[0]
    return folder


def _lists_folder(folder: Path, source: Source) -> Path:
    """Return the folder that contains the official lists. Raises ValueError if they are not below `folder`."""
    for path in sorted(folder.rglob(source.find or "*")):
        if path.is_file():
            return path.parent
    raise ValueError(f"{source.page}: the lists have no {source.find}; the archive was changed, please report it")


def _name_folders(top: Path, source: Source) -> None:
    """Rename split folders as `source.rename` states.

    If `source.words`, put underscores between the words in the names of class folders.
    """
    for old, new in source.rename.items():
        if (top / old).is_dir():
            (top / old).rename(top / new)
    if source.words:
        for folder in [path for path in top.glob("*/*") if path.is_dir()]:
            folder.rename(folder.with_name(re.sub("(?<=[a-z])(?=[A-Z])", "_", folder.name)))
