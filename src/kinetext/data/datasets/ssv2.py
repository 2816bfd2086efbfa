"""Something-Something V2 (Goyal et al. 2017, arXiv:1706.04261; version 2 of 2018): hands doing things to things.

The lists as published, under their old names (`something-something-v2-train.json`) or their new ones (`train.json`):
objects with the video's `id` and a `template`, the class with its placeholders in brackets. `labels.json` numbers the
templates without brackets. Videos are `{id}.webm`, or what they were converted to.

The field reports accuracy on the validation list, as the labels of the test list are withheld: its clips are the split
`test` here, and the test list is not read. Left and right tell classes apart: never flip these clips.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

from kinetext.data.datasets import Clip
from kinetext.data.lists import (
    RecognitionOptions,
    Videos,
    known_class,
    need_file,
    need_folder,
    read_entries,
    read_json,
    set_aside,
)


class Config(RecognitionOptions):
    """Where videos and lists are."""


def check(config: Config) -> None:
    """Raise ValueError if a folder or a list is missing."""
    need_folder(config.root, "root")
    list_files(config)


def list_files(config: Config) -> list[Path]:
    """The training list, the validation list and the classes."""
    folder = need_folder(config.annotations, "annotations")
    prefixes = ("something-something-v2-", "something-something-", "")
    return [need_file(folder, *(f"{p}{part}.json" for p in prefixes)) for part in ("train", "validation", "labels")]


def published(config: Config) -> dict[str, int]:
    """The sizes on the data set's page: 168 913 training clips, 24 777 validation clips, 174 classes."""
    train = {} if config.val_share else {"train": 168_913}
    return {**train, "test": 24_777, "classes": 174}


def labels(config: Config) -> list[str]:
    """The templates without brackets, in the order of their numbers."""
    path = list_files(config)[2]
    numbers = read_json(path, dict)
    for label, number in numbers.items():
        if not str(number).isdecimal():
            raise ValueError(f"{path}: '{label}' has number {number!r}; the official file maps templates to 0, 1, ...")
    return sorted(numbers, key=lambda label: int(numbers[label]))


def list_clips(config: Config, folder: Path) -> Iterator[Clip]:
    """The clips of the training list, then those of the validation list. Raises ValueError, with file and entry."""
    return set_aside(_listed(config), config.val_share, config.seed)


def _listed(config: Config) -> Iterator[Clip]:
    videos = Videos(need_folder(config.root, "root"))
    train, test, numbers = list_files(config)
    classes = set(labels(config))
    withheld = 0
    for split, path in (("train", train), ("test", test)):
        for place, entry in read_entries(path, "id"):
            if split == "test" and not entry.get("template"):
                withheld += 1
                continue
            label = str(entry.get("template", "")).replace("[", "").replace("]", "")
            known_class(label, classes, place, numbers.name)
            file, error = videos.find(f"{entry['id']}.webm")
            yield Clip(str(entry["id"]), file, split, label, error=error)
    if withheld:
        logging.getLogger(__name__).warning("%s: %d clips without a template left out", test, withheld)
