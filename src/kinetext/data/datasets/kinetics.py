"""Kinetics-400, -600 and -700 (Kay et al. 2017, arXiv:1705.06950): clips of ten seconds cut from YouTube videos.

The lists as published: `train.csv` and `validate.csv` with the columns label, youtube_id, time_start, time_end; a
clip's file is `{youtube_id}_{start}_{end}.mp4`, the times in six digits, in the folders of the CVDF copy (train,
val), in class folders, or in the root. With `classes`, a csv of `id,name`, the lists are flat instead: `path id` in
each line, as those of X-CLIP, ST-Adapter, ViFi-CLIP and PySlowFast (whose `train.csv` is separated by spaces, too).

The field reports accuracy on the validation list, because the labels of the test list were withheld for years. So its
clips are the split `test` here, and no test list is read. Copies differ in length, because videos vanish from YouTube.
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
        """Folders of videos and lists, the share of validation clips, and the edition."""

        variant: Literal[400, 600, 700] = Field(400, description="edition, named by its number of classes")
        classes: str | None = Field(
            None, description="csv `id,name` in `annotations`: the lists are flat; null: official csv"
        )

    config: Config

    def list_files(self) -> list[Path]:
        """Return the training list, the validation list and, for flat lists, the classes."""
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
        """Return the number of classes. The number of clips differs between copies, because videos disappear."""
        return {} if self.config.classes else {"classes": self.config.variant}

    def labels(self) -> list[str]:
        """Return the classes of the training list in their usual order: sorted as if spaces were underscores."""
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
        """Yield the clips of the training list, then those of the validation list; a group is one YouTube video."""
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
    """Return the class names by their numbers, in the order of the numbers."""
    names = {}
    for line, row in read_csv(path, "id", "name"):
        if not row["id"].isdecimal() or row["id"] in names or not _clean(row["name"]):
            raise ValueError(f"{path}:{line}: '{row['id']},{row['name']}' is not `id,name` with a unique id")
        names[row["id"]] = _clean(row["name"])
    return dict(sorted(names.items(), key=lambda item: int(item[0])))


def _clean(label: str) -> str:
    return " ".join(label.replace('"', "").replace("_", " ").split())
