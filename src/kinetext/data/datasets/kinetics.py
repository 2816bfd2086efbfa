"""Kinetics-400, -600 and -700 (Kay et al. 2017, arXiv:1705.06950): clips of ten seconds cut from YouTube videos.

The lists as published: `train.csv` and `validate.csv` with the columns label, youtube_id, time_start, time_end; a clip's
file is `{youtube_id}_{start}_{end}.mp4`, the times in six digits, in the folders of the CVDF copy (train, val), in class
folders, or in the root. With `classes`, a csv of `id,name`, the lists are flat instead: `path id` on each line, as those
of X-CLIP, ST-Adapter, ViFi-CLIP and PySlowFast (whose `train.csv` has spaces, too).

The field reports accuracy on the validation list, as the labels of the test list were withheld for years: its clips are
the split `test` here, and no test list is read. Copies differ in length, because videos vanish from YouTube.
"""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import Field

from kinetext.data.datasets import Clip
from kinetext.data.lists import (
    RecognitionOptions,
    Videos,
    known_class,
    need_file,
    need_folder,
    printable,
    read_csv,
    read_lines,
    seconds,
    set_aside,
)

FOLDERS = {
    "train": ("train/", "videos_train/", ""),
    "test": ("val/", "validate/", "validation/", "videos_val/", ""),
}


class Config(RecognitionOptions):
    """Where videos and lists are, and which edition they are of."""

    variant: Literal[400, 600, 700] = Field(400, description="edition, called by its number of classes")
    classes: str | None = Field(
        None, description="csv `id,name` in `annotations`: the lists are flat; null: official csv"
    )


def check(config: Config) -> None:
    """Raise ValueError if a folder or a list is missing."""
    need_folder(config.root, "root")
    list_files(config)


def list_files(config: Config) -> list[Path]:
    """The training list, the validation list and, where the lists are flat, the classes."""
    folder = need_folder(config.annotations, "annotations")
    ending = (".txt", ".csv") if config.classes else (".csv",)
    found = [
        need_file(
            folder, *(prefix + name + suffix for suffix in ending for name in names for prefix in ("", "kinetics_"))
        )
        for names in (("train",), ("validate", "val", "validation"))
    ]
    return [*found, need_file(folder, config.classes)] if config.classes else found


def published(config: Config) -> dict[str, int]:
    """The number of classes; that of clips depends on the copy. Flat lists may be of any choice of classes."""
    return {} if config.classes else {"classes": config.variant}


def labels(config: Config) -> list[str]:
    """The classes of the training list, sorted as everybody numbers them: as if spaces were underscores."""
    files = list_files(config)
    if config.classes:
        return list(_numbered(files[2]).values())
    found = set()
    for line, row in read_csv(files[0], "label"):
        if not _clean(row["label"]):
            raise ValueError(f"{files[0]}:{line}: the label is empty; take the list as published")
        found.add(_clean(row["label"]))
    return sorted(found, key=lambda label: label.replace(" ", "_"))


def list_clips(config: Config, folder: Path) -> Iterator[Clip]:
    """The clips of the training list, then those of the validation list. Raises ValueError, with file and line."""
    clips = _flat(config) if config.classes else _official(config)
    grouped = (replace(clip, group=clip.clip_id.rsplit("_", 2)[0]) for clip in clips)  # clips of one YouTube video
    return set_aside(grouped, config.val_share, config.seed)


def _official(config: Config) -> Iterator[Clip]:
    videos = Videos(need_folder(config.root, "root"))
    train, test = list_files(config)
    classes = set(labels(config))
    withheld = 0
    for split, path in (("train", train), ("test", test)):
        for line, row in read_csv(path, "youtube_id", "time_start", "time_end"):
            place = f"{path}:{line}"
            label = _clean(row.get("label") or "")
            if not label:
                withheld += 1
                continue
            known_class(label, classes, place, train.name)
            if not row["youtube_id"]:
                raise ValueError(f"{place}: youtube_id is empty; take the list as published")
            start, end = (int(seconds(row[column], place, column)) for column in ("time_start", "time_end"))
            name = f"{row['youtube_id']}_{start:06d}_{end:06d}"
            inner = (name, f"{label}/{name}", f"{label.replace(' ', '_')}/{name}")
            file, error = videos.find(*(f"{top}{below}.mp4" for top in FOLDERS[split] for below in inner))
            yield Clip(name, file, split, label, error=error)
    if withheld:
        logging.getLogger(__name__).warning("%s: %d clips without a label left out", test, withheld)


def _flat(config: Config) -> Iterator[Clip]:
    videos = Videos(need_folder(config.root, "root"))
    train, test, numbers = list_files(config)
    classes = _numbered(numbers)
    for split, path in (("train", train), ("test", test)):
        for line, text in read_lines(path):
            name, _, number = text.strip().replace("\t", " ").rpartition(" ")
            if not name or number not in classes:
                raise ValueError(f"{path}:{line}: '{printable(text)}' is not `path id` with an id of {numbers.name}")
            file, error = videos.find(name.strip())
            yield Clip(printable(name.strip()), file, split, classes[number], error=error)


def _numbered(path: Path) -> dict[str, str]:
    """Class names by their number, in the order of the numbers."""
    found = {}
    for line, row in read_csv(path, "id", "name"):
        if not row["id"].isdecimal() or row["id"] in found or not _clean(row["name"]):
            raise ValueError(f"{path}:{line}: '{row['id']},{row['name']}' is not `id,name` with an id of its own")
        found[row["id"]] = _clean(row["name"])
    return dict(sorted(found.items(), key=lambda item: int(item[0])))


def _clean(label: str) -> str:
    return " ".join(label.replace('"', "").replace("_", " ").split())
