"""HMDB51 (Kuehne et al. 2011, ICCV): clips of 51 actions from films and the web, with three splits.

The lists as published, the folder `testTrainMulti_7030_splits`: for each class and split a file
`{class}_test_split{1,2,3}.txt` with a line `video.avi flag` for each clip: 1 training, 2 test, 0 not in this split.
The order of the classes is that of their names. Videos are `{class}/{video}.avi`, or all in one folder.

There is no validation split; `val_share` makes one. File names are odd (#, brackets, other bytes than UTF-8): a name
that no table can hold is a clip with an error that says so.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from kinetext.data.datasets import Clip
from kinetext.data.lists import RecognitionOptions, Videos, need_folder, printable, read_lines, set_aside

SPLITS = {"1": "train", "2": "test", "0": None}


class Config(RecognitionOptions):
    """Where videos and lists are, and which of the three splits is meant."""

    fold: Literal[1, 2, 3] = Field(1, description="which of the three official splits")


def check(config: Config) -> None:
    """Raise ValueError if a folder is missing or has no lists."""
    need_folder(config.root, "root")
    list_files(config)


def list_files(config: Config) -> list[Path]:
    """The split's list of each class, in the order of the classes."""
    folder = need_folder(config.annotations, "annotations")
    found = sorted(folder.glob(f"*_test_split{config.fold}.txt"), key=_class)
    if not found:
        raise ValueError(
            f"annotations: {folder} has no *_test_split{config.fold}.txt; name testTrainMulti_7030_splits itself"
        )
    return found


def published(config: Config) -> dict[str, int]:
    """70 training and 30 test clips of each of 51 classes, in each split (the paper)."""
    train = {} if config.val_share else {"train": 70 * 51}
    return {**train, "test": 30 * 51, "classes": 51}


def labels(config: Config) -> list[str]:
    """The classes in the order of their names."""
    return [_class(path).replace("_", " ") for path in list_files(config)]


def list_clips(config: Config, folder: Path) -> Iterator[Clip]:
    """The clips of the split, class by class. Raises ValueError, with file and line."""
    return set_aside(_listed(config), config.val_share, config.seed)


def _listed(config: Config) -> Iterator[Clip]:
    videos = Videos(need_folder(config.root, "root"))
    for path in list_files(config):
        name = _class(path)
        for line, text in read_lines(path):
            video, _, flag = text.strip().rpartition(" ")
            if not video or flag not in SPLITS:
                raise ValueError(f"{path}:{line}: '{printable(text)}' is not `video.avi flag` with flag 0, 1 or 2")
            split = SPLITS[flag]
            if split is not None:
                file, error = videos.find(f"{name}/{video.strip()}", video.strip())
                clip_id, label = printable(f"{name}/{video.strip()}"), name.replace("_", " ")
                yield Clip(clip_id, file, split, label, error=error, group=_film(clip_id))


def _class(path: Path) -> str:
    """The class of a list: its name up to `_test_split`, as class names have underscores themselves."""
    return path.name.rpartition("_test_split")[0]


def _film(clip_id: str) -> str:
    """What a clip was cut from, its group: `{film}_{class}_{what is seen}_{number}.avi`."""
    name, _, video = clip_id.partition("/")
    return video.rpartition(f"_{name}_")[0] or video
