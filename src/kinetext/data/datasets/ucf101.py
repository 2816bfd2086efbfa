"""UCF101 (Soomro et al. 2012, arXiv:1212.0402): 13 320 clips of 101 actions from YouTube, with three splits.

The lists are read as published, from the folder `ucfTrainTestlist`: `classInd.txt` (`1 ApplyEyeMakeup`),
`trainlist0{1,2,3}.txt` (`ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1`) and `testlist0{1,2,3}.txt`, without the
number. Videos are in class folders as listed, or all in one folder. Releases differ in the spelling of one class,
HandstandPushups or HandStandPushups, in folders, files and lists: for each spelling the other one is tried, too.

Clips of one class with the same number (g08) are cut from one video and are one group. There is no validation split;
`val_share` makes one.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from kinetext.data.datasets.base import Clip
from kinetext.data.lists import known_class, need_file, need_folder, printable, read_lines
from kinetext.data.recognition import RecognitionDataset, RecognitionOptions
from kinetext.data.videos import Videos

NUM_CLIPS = 13_320
NUM_TEST = {1: 3783, 2: 3734, 3: 3696}


class UCF101(RecognitionDataset):
    """UCF101, in one of its three splits."""

    class Config(RecognitionOptions):
        """Folders of videos and lists, the fraction of training clips used for validation, and the split."""

        fold: Literal[1, 2, 3] = Field(1, description="which of the three official splits")

    config: Config

    def list_files(self) -> list[Path]:
        """Return the paths of the training list, the test list and the list of classes, in this order."""
        folder, fold = need_folder(self.config.annotations, "annotations"), self.config.fold
        return [need_file(folder, f"{part}.txt") for part in (f"trainlist0{fold}", f"testlist0{fold}", "classInd")]

    def published(self) -> dict[str, int]:
        """Return the sizes of the split: 3783, 3734 or 3696 test clips, all other clips for training, and 101 classes.

        The paper states 13 320 clips in all.
        """
        num_test = NUM_TEST[self.config.fold]
        return {**self.published_train(NUM_CLIPS - num_test), "test": num_test, "classes": 101}

    def labels(self) -> list[str]:
        """Return the classes in words (Apply Eye Makeup), in the order of classInd.txt."""
        return list(_numbered(self.list_files()[2]).values())

    def listed_clips(self) -> Iterator[Clip]:
        """Yield the clips of the training list, then those of the test list."""
        videos = Videos(need_folder(self.config.root, "root"))
        train, test, numbers = self.list_files()
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
                file, error = videos.find(name, *_spellings(name), video)
                clip_id = printable(name)
                yield Clip(clip_id, file, split, label, error=error, group=clip_id.rpartition("_c")[0] or None)


def _spellings(name: str) -> list[str]:
    """Return the names that a file may have, with Handstand or HandStand in the folder and in the file name."""
    names = [re.sub("Hand[Ss]tand", word, name) for word in ("Handstand", "HandStand")]
    return [f"{folder.rpartition('/')[0]}/{file.rpartition('/')[2]}" for folder in names for file in names]


def _numbered(path: Path) -> dict[str, str]:
    """Return {number: class in words} in the order of the numbers.

    Raises ValueError, with file and line, if a line is wrong.
    """
    names = {}
    for line, text in read_lines(path):
        number, *name = text.split()
        if not number.isdecimal() or number in names or len(name) != 1:
            raise ValueError(f"{path}:{line}: '{printable(text)}' is not `number class` with a unique number")
        names[number] = _words(name[0])
    return dict(sorted(names.items(), key=lambda item: int(item[0])))


def _words(name: str) -> str:
    """Return a class name in words: `ApplyEyeMakeup` becomes `Apply Eye Makeup`."""
    return re.sub("(?<=[a-z])(?=[A-Z])", " ", name.replace("HandStand", "Handstand"))
