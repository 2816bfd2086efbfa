"""Find files with equal bytes, reading as little as possible."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

END_BYTES = 2**16  # of a file's head and tail, which are compared first


def find_duplicates(paths: Iterable[str]) -> tuple[list[list[str]], set[str]]:
    """Return the groups of files with equal bytes, and the set of files that cannot be read. Empty files are ignored.

    Sizes are compared first, then the first and last END_BYTES of files of equal size. Whole files are compared only if
    these ends are equal.
    """
    groups, unreadable = [list(paths)], set()
    keys: tuple[Callable[[str], Any], ...] = (os.path.getsize, _ends, _whole)
    for key in keys:
        by_key: dict[Any, list[str]] = defaultdict(list)
        for number, group in enumerate(groups):
            for path in group:
                try:
                    by_key[number, key(path)].append(path)
                except OSError:
                    unreadable.add(path)
        groups = [group for (_, value), group in by_key.items() if len(group) > 1 and value != 0]
    return groups, unreadable


def _ends(path: str) -> bytes:
    with open(path, "rb") as file:
        head = file.read(END_BYTES)
        file.seek(max(0, os.fstat(file.fileno()).st_size - END_BYTES))
        return hashlib.sha256(head + file.read()).digest()


def _whole(path: str) -> bytes:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
