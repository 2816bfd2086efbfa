"""UCF101 (Soomro et al. 2012, arXiv:1212.0402): 13 320 clips of 101 actions from YouTube, with three splits.

The lists as published, the folder `ucfTrainTestlist`: `classInd.txt` (`1 ApplyEyeMakeup`), `trainlist0{1,2,3}.txt`
(`ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1`) and `testlist0{1,2,3}.txt`, without the number. Videos are in class
folders as listed, or all in one folder. One class is spelt HandstandPushups and HandStandPushups, in folders, files and
lists, differently from release to release: either is found as the other.

Clips of one class and number (g08) are cuts of one video, a group. There is no validation split; `val_share` makes one.
"""

import re
from collections.abc import Iterator
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
    read_lines,
    set_aside,
)

NUM_CLIPS = 13_320
NUM_TEST = {1: 3783, 2: 3734, 3: 3696}


class Config(RecognitionOptions):
    """Where videos and lists are, and which of the three splits is meant."""

    fold: Literal[1, 2, 3] = Field(1, description="which of the three official splits")


def check(config: Config) -> None:
    """Raise ValueError if a folder or a list is missing."""
    need_folder(config.root, "root")
    list_files(config)


def list_files(config: Config) -> list[Path]:
    """The training list and the test list of the split, and the classes."""
    folder = need_folder(config.annotations, "annotations")
    return [
        need_file(folder, f"{part}.txt") for part in (f"trainlist0{config.fold}", f"testlist0{config.fold}", "classInd")
    ]


def published(config: Config) -> dict[str, int]:
    """All 13 320 clips (the paper) are in each split; the test lists have 3783, 3734 and 3696 of them."""
    train = {} if config.val_share else {"train": NUM_CLIPS - NUM_TEST[config.fold]}
    return {**train, "test": NUM_TEST[config.fold], "classes": 101}


def labels(config: Config) -> list[str]:
    """The classes in the order of classInd.txt, as words: Apply Eye Makeup."""
    return list(_numbered(list_files(config)[2]).values())


def list_clips(config: Config, folder: Path) -> Iterator[Clip]:
    """The clips of the training list, then those of the test list. Raises ValueError, with file and line."""
    return set_aside(_listed(config), config.val_share, config.seed)


def _listed(config: Config) -> Iterator[Clip]:
    videos = Videos(need_folder(config.root, "root"))
    train, test, numbers = list_files(config)
    numbered = _numbered(numbers)
    classes = set(numbered.values())
    for split, path in (("train", train), ("test", test)):
        for line, text in read_lines(path):
            name, *number = text.split()
            inner, _, video = name.rpartition("/")
            if not inner or len(number) > 1:
                raise ValueError(
                    f"{path}:{line}: '{printable(text)}' is not `class/video.avi` with its number or without"
                )
            label = known_class(_words(inner.rpartition("/")[2]), classes, f"{path}:{line}", numbers.name)
            if number and numbered.get(number[0]) != label:
                raise ValueError(f"{path}:{line}: number {number[0]} is not that of '{label}' in {numbers.name}")
            spelt = [re.sub("Hand[Ss]tand", stand, name) for stand in ("Handstand", "HandStand")]
            mixed = [f"{folder.rpartition('/')[0]}/{file.rpartition('/')[2]}" for folder in spelt for file in spelt]
            file, error = videos.find(name, *mixed, video)
            clip_id = printable(name)
            yield Clip(clip_id, file, split, label, error=error, group=clip_id.rpartition("_c")[0] or None)


def _numbered(path: Path) -> dict[str, str]:
    """The classes as words by their number, in the order of the numbers."""
    found = {}
    for line, text in read_lines(path):
        number, *name = text.split()
        if not number.isdecimal() or number in found or len(name) != 1:
            raise ValueError(f"{path}:{line}: '{printable(text)}' is not `number class` with a number of its own")
        found[number] = _words(name[0])
    return dict(sorted(found.items(), key=lambda item: int(item[0])))


def _words(name: str) -> str:
    """A class as a sentence could hold it: `ApplyEyeMakeup` is `Apply Eye Makeup`."""
    return re.sub("(?<=[a-z])(?=[A-Z])", " ", name.replace("HandStand", "Handstand"))
