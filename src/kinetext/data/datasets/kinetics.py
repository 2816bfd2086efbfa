"""Kinetics-400, -600 and -700 (Kay et al. 2017, arXiv:1705.06950): clips of ten seconds cut from YouTube videos.

The lists are read as published: `train.csv` and `validate.csv` with the columns label, youtube_id, time_start and
time_end. The file of a clip is `{youtube_id}_{start}_{end}.mp4` with times of six digits. It may be in the folders of
the CVDF copy (train, val), in class folders, or in the root. With the option `classes`, a csv file of `id,name`, the
lists are flat instead: each line is `path id`, as in the lists of X-CLIP, ST-Adapter, ViFi-CLIP and PySlowFast (whose
`train.csv` is also separated by spaces).

Papers report accuracy on the validation list, because the labels of the test list were withheld for years. Clips of the
validation list are therefore the split `test` here, and no test list is read. Copies of the data set differ in size,
because videos disappear from YouTube.
"""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import Field

from kinetext.data.datasets.base import Clip
from kinetext.data.lists import known_class, need_file, need_folder, printable, read_csv, read_lines, seconds
from kinetext.data.recognition import RecognitionDataset, RecognitionOptions
from kinetext.data.videos import Videos
from kinetext.data.vificlip import has_swapped_label

FOLDERS = {
    "train": ("train/", "videos_train/", ""),
    "test": ("val/", "validate/", "validation/", "videos_val/", ""),
}


class Kinetics(RecognitionDataset):
    """Kinetics-400, -600 or -700."""

    class Config(RecognitionOptions):
        """Folders of videos and lists, the fraction of training clips used for validation, and the edition."""

        variant: Literal[400, 600, 700] = Field(400, description="edition, named by its number of classes")
        classes: str | None = Field(
            None, description="csv `id,name` in `annotations`: the lists are flat; null: official csv"
        )

    config: Config

    def list_files(self) -> list[Path]:
        """Return the paths of the training list and the validation list; with flat lists, also that of the classes."""
        folder = need_folder(self.config.annotations, "annotations")
        suffixes = (".txt", ".csv") if self.config.classes else (".csv",)
        paths = [
            need_file(
                folder,
                *(prefix + name + suffix for suffix in suffixes for name in names for prefix in ("", "kinetics_")),
            )
            for names in (("train",), ("validate", "val", "validation"))
        ]
        return [*paths, need_file(folder, self.config.classes)] if self.config.classes else paths

    def published(self) -> dict[str, int]:
        """Return the published number of classes.

        The number of clips differs between copies. With flat lists the result is empty, because they may be of another
        data set.
        """
        return {} if self.config.classes else {"classes": self.config.variant}

    def labels(self) -> list[str]:
        """Return the classes in their usual order: sorted as if spaces were underscores.

        With flat lists, return them in the order of their numbers.
        """
        files = self.list_files()
        if self.config.classes:
            return list(_numbered(files[2]).values())
        labels = set()
        for line, row in read_csv(files[0], "label"):
            if not _clean(row["label"]):
                raise ValueError(f"{files[0]}:{line}: the label is empty; use the list as published")
            labels.add(_clean(row["label"]))
        return sorted(labels, key=lambda label: label.replace(" ", "_"))

    def listed_clips(self) -> Iterator[Clip]:
        """Yield the clips of the training list, then those of the validation list.

        Clips of one YouTube video are a group.
        """
        clips = self._flat_clips() if self.config.classes else self._official_clips()
        return (replace(clip, group=clip.clip_id.rsplit("_", 2)[0]) for clip in clips)

    def _official_clips(self) -> Iterator[Clip]:
        videos = Videos(need_folder(self.config.root, "root"))
        train, test = self.list_files()
        classes = set(self.labels())
        num_withheld = 0
        for split, path in (("train", train), ("test", test)):
            for line, row in read_csv(path, "youtube_id", "time_start", "time_end"):
                where = f"{path}:{line}"
                label = _clean(row.get("label") or "")
                if not label:
                    num_withheld += 1
                    continue
                known_class(label, classes, where, train.name)
                if not row["youtube_id"]:
                    raise ValueError(f"{where}: youtube_id is empty; use the list as published")
                start, end = (int(seconds(row[column], where, column)) for column in ("time_start", "time_end"))
                name = f"{row['youtube_id']}_{start:06d}_{end:06d}"
                inner = (name, f"{label}/{name}", f"{label.replace(' ', '_')}/{name}")
                file, error = videos.find(*(f"{top}{below}.mp4" for top in FOLDERS[split] for below in inner))
                yield Clip(name, file, split, label, error=error)
        if num_withheld:
            logging.getLogger(__name__).warning("%s: %d clips without a label are left out", test, num_withheld)

    def _flat_clips(self) -> Iterator[Clip]:
        videos = Videos(need_folder(self.config.root, "root"))
        train, test, numbers = self.list_files()
        classes = _numbered(numbers)
        num_swapped = 0
        for split, path in (("train", train), ("test", test)):
            for line, text in read_lines(path):
                name, _, number = text.strip().replace("\t", " ").rpartition(" ")
                if not name or number not in classes:
                    raise ValueError(
                        f"{path}:{line}: '{printable(text)}' is not `path id` with an id of {numbers.name}"
                    )
                file, error = videos.find(name.strip())
                num_swapped += has_swapped_label(name, classes[number])
                yield Clip(printable(name.strip()), file, split, classes[number], error=error)
        if num_swapped:
            logging.getLogger(__name__).warning(
                "%s, %s: %d clips of HMDB51 have another class than their file names say, as in ViFi-CLIP's lists: kick "
                "and kick ball, sword and sword exercise are swapped. To correct them, swap these names in %s",
                train,
                test,
                num_swapped,
                numbers,
            )


def _numbered(path: Path) -> dict[str, str]:
    """Return {number: class name} in the order of the numbers. Raises ValueError, with file and line, for a bad row."""
    names = {}
    for line, row in read_csv(path, "id", "name"):
        if not row["id"].isdecimal() or row["id"] in names or not _clean(row["name"]):
            raise ValueError(f"{path}:{line}: '{row['id']},{row['name']}' is not `id,name` with a unique id")
        names[row["id"]] = _clean(row["name"])
    return dict(sorted(names.items(), key=lambda item: int(item[0])))


def _clean(label: str) -> str:
    return " ".join(label.replace('"', "").replace("_", " ").split())
