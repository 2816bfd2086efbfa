"""Your own videos, one folder a class: `root/{split}/{class}/*` with splits train, val, test, or `root/{class}/*`, which
is then split by chance, class by class.

A class is called what its folder is called, underscores read as spaces: write them so that a sentence could contain them.
"""

import random
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field, model_validator

from kinetext.core.plugins import Options
from kinetext.data.datasets import Clip

SUFFIXES = {".mp4", ".avi", ".webm", ".mkv", ".mov"}
SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


class Config(Options):
    """Where the videos are, and how they are split if no folders say so."""

    root: str = Field(description="folder of the class folders or of the folders train, val, test")
    seed: int = Field(0, ge=0, description="of the split by chance; no effect on folders train, val, test")
    val: float = Field(0.1, ge=0, lt=1, description="share of each class's clips for validation, by chance")
    test: float = Field(0.2, gt=0, lt=1, description="share for the test; at least one of three or more clips")

    @model_validator(mode="after")
    def _leaves_training_clips(self) -> "Config":
        if self.val + self.test >= 1:
            raise ValueError(f"val + test is {self.val + self.test:g}; below 1, or nothing is left to train on")
        return self


def check(config: Config) -> None:
    """Raise ValueError if there is no folder `root`; check-config asks this before anything runs."""
    root = Path(config.root).expanduser()
    if not root.is_dir():
        parent = next(parent for parent in root.absolute().parents if parent.is_dir())
        raise ValueError(f"root: no folder {root.absolute()}; what there is ends at {parent}")


def list_clips(config: Config, folder: Path) -> Iterator[Clip]:
    """Every video below `root`, in the order of its name; the clip's name is its path from there.

    Raises ValueError, with the place, if `root` is missing or laid out otherwise. A link out of it is listed with that as its error.
    """
    check(config)
    root = Path(config.root).expanduser()
    tops = _folders(root)
    if not tops:
        raise ValueError(f"root: {root} has no folders in it; put the videos into one folder a class")
    named = [top for top in tops if top.name.lower() in SPLITS]
    if named and len(named) < len(tops):
        other = next(top for top in tops if top not in named)
        raise ValueError(f"root: {root} has {named[0].name}/, a split, beside {other.name}/, which is none; sort them")
    for top in tops:
        if named:
            for label, videos in _classes(root, top):
                for video in videos:
                    yield _clip(root, video, SPLITS[top.name.lower()], label)
    if not named:
        for label, videos in _classes(root, root):
            for video, split in zip(videos, _by_chance(len(videos), label, config), strict=True):
                yield _clip(root, video, split, label)


def _clip(root: Path, video: Path, split: str, label: str) -> Clip:
    if not video.resolve().is_relative_to(root.resolve()):
        error = f"outside_root: a link to {video.resolve()}, out of {root}; copy the video or move the root"
    else:
        error = None
    return Clip(video.relative_to(root).as_posix(), video.absolute(), split, label, error=error)


def _classes(root: Path, parent: Path) -> Iterator[tuple[str, list[Path]]]:
    """The classes below a folder, each with its videos in the order of their names."""
    seen: dict[str, Path] = {}
    for place in _folders(parent):
        label = " ".join(place.name.replace("_", " ").split())
        if label in seen:
            raise ValueError(f"root: {seen[label]} and {place} are both the class '{label}'; join them")
        seen[label] = place
        deeper = _folders(place)
        if deeper:
            raise ValueError(f"root: {deeper[0]} is a folder inside a class folder; put its videos into {place}")
        videos = (path for path in place.iterdir() if path.suffix.lower() in SUFFIXES and path.name[0] != ".")
        yield label, sorted(videos)


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if path.is_dir() and path.name[0] != ".")


def _by_chance(num_clips: int, label: str, config: Config) -> list[str]:
    """A split for each clip of a class; the same for the same number of clips, seed and class."""
    num_test = min(max(round(config.test * num_clips), int(num_clips >= 3)), num_clips - 1)  # one is to train on
    num_val = min(round(config.val * num_clips), max(num_clips - num_test - 1, 0))
    splits = ["test"] * num_test + ["val"] * num_val
    splits += ["train"] * (num_clips - len(splits))
    random.Random(f"{config.seed} {label}").shuffle(splits)  # a text as seed: no class's draw depends on another's
    return splits
