"""Find links below the root of a data set that lead to places that must not be read.

A link must not lead back to a folder that contains it. It may lead out of the root only if the user allows it: if other
people can write to the folder, a link could make kinetext decode and show any file of this machine.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from kinetext.data.datasets.base import Clip
from kinetext.data.videos import refuse_loop


def refuse_outside(clips: Iterable[Clip], root: Path) -> Iterator[Clip]:
    """Yield the clips. A clip whose path leads out of the root through a link gets an error and is never opened."""
    outside = dict(links_out(os.path.abspath(root)))
    for clip in clips:
        if outside and clip.error is None:
            path = clip.path.absolute()
            link = next((str(part) for part in (path, *path.parents) if str(part) in outside), None)
            if link is not None:
                where = f"{link} is a link to {outside[link]}, out of {root}"
                clip = replace(clip, error=f"outside_root: {where}; allow it with `links: follow`")
        yield clip


def links_out(root: str) -> Iterator[tuple[str, str]]:
    """Yield (link, target) for each link below `root` whose target is outside it. The targets are not searched.

    Raises ValueError if a link leads to a folder that contains it.
    """
    real_root = Path(os.path.realpath(root))
    folders = [root]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.name[0] == ".":
                    continue
                if entry.is_symlink():
                    target = os.path.realpath(entry.path)
                    if not Path(target).is_relative_to(real_root):
                        yield entry.path, target
                        continue
                    if os.path.isdir(target):
                        refuse_loop(entry.path)
                if entry.is_dir():
                    folders.append(entry.path)
