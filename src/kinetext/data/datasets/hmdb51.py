"""HMDB51 (Kuehne et al. 2011, ICCV): clips of 51 actions from films and the web, with three splits.

The lists are read as published, from the folder `testTrainMulti_7030_splits`. For each class and split it has a file
`{class}_test_split{1,2,3}.txt` with a line `video.avi flag` per clip: 1 training, 2 test, 0 not in this split. Classes
are ordered by name. Videos are `{class}/{video}.avi`, or all in one folder.

There is no validation split; `val_share` makes one. Some file names have unusual characters (#, brackets, bytes that
are not UTF-8). A clip whose file name cannot be stored in a table is listed with an error.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from kinetext.data.datasets.base import Clip
from kinetext.data.lists import need_folder, printable, read_lines
from kinetext.data.recognition import RecognitionDataset, RecognitionOptions
from kinetext.data.videos import Videos

SPLITS = {"1": "train", "2": "test", "0": None}


class HMDB51(RecognitionDataset):
    """HMDB51, in one of its three splits."""

    class Config(RecognitionOptions):
        """Folders of videos and lists, the fraction of training clips used for validation, and the split."""

        fold: Literal[1, 2, 3] = Field(1, description="which of the three official splits")

    config: Config

    def list_files(self) -> list[Path]:
        """Return the list of each class for this split, in the order of the classes.

        Raises ValueError if the folder has no such list.
        """
        folder = need_folder(self.config.annotations, "annotations")
        paths = sorted(folder.glob(f"*_test_split{self.config.fold}.txt"), key=_class)
        if not paths:
            raise ValueError(
                f"annotations: {folder} has no *_test_split{self.config.fold}.txt; give the folder "
                "testTrainMulti_7030_splits itself"
            )
        return paths

    def published(self) -> dict[str, int]:
        """Return the published sizes: 70 training clips and 30 test clips for each of 51 classes."""
        return {**self.published_train(70 * 51), "test": 30 * 51, "classes": 51}

    def labels(self) -> list[str]:
        """Return the class names, sorted."""
        return [_class(path).replace("_", " ") for path in self.list_files()]

    def listed_clips(self) -> Iterator[Clip]:
        """Yield the clips of the split, class by class."""
        videos = Videos(need_folder(self.config.root, "root"))
        for path in self.list_files():
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
    """Return the class in the file name of a list: the part before the last `_test_split`.

    Class names have underscores, too.
    """
    return path.name.rpartition("_test_split")[0]


def _film(clip_id: str) -> str:
    """Return the film that a clip was cut from, which is its group.

    File names are `{film}_{class}_{properties}_{number}.avi`.
    """
    name, _, video = clip_id.partition("/")
    return video.rpartition(f"_{name}_")[0] or video
