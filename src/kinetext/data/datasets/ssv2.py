"""Something-Something V2 (Goyal et al. 2017, arXiv:1706.04261; version 2 of 2018): people handling everyday objects.

The lists are read as published, under their old names (`something-something-v2-train.json`) or their new ones
(`train.json`). An entry has the `id` of the video and a `template`, which is the class with placeholders in brackets.
`labels.json` numbers the templates without brackets. Videos are `{id}.webm`, or have another suffix after conversion.

Papers report accuracy on the validation list, because the labels of the test list are withheld. Clips of the validation
list are therefore the split `test` here, and the test list is not read. Left and right distinguish classes: never flip
these clips.

ssv2_kinds.yaml has the kind of motion of each class, written for kinetext.
"""

import logging
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import yaml

from kinetext.data.datasets.base import Clip
from kinetext.data.lists import known_class, need_file, need_folder, read_entries, read_json
from kinetext.data.recognition import RecognitionDataset, RecognitionOptions
from kinetext.data.videos import Videos


class SSv2(RecognitionDataset):
    """Something-Something V2: everyday actions whose classes differ in motion."""

    class Config(RecognitionOptions):
        """Folders of videos and lists, and the fraction of training clips that is used for validation."""

    config: Config

    def list_files(self) -> list[Path]:
        """Return the paths of the training list, the validation list and the classes, in this order."""
        folder = need_folder(self.config.annotations, "annotations")
        prefixes = ("something-something-v2-", "something-something-", "")
        return [need_file(folder, *(f"{p}{part}.json" for p in prefixes)) for part in ("train", "validation", "labels")]

    def published(self) -> dict[str, int]:
        """Return the numbers on the data set's page: 168 913 training clips, 24 777 validation clips, 174 classes."""
        return {**self.published_train(168_913), "test": 24_777, "classes": 174}

    def labels(self) -> list[str]:
        """Return the templates without brackets, in the order of their numbers."""
        path = self.list_files()[2]
        numbers = read_json(path, dict)
        for label, number in numbers.items():
            if not str(number).isdecimal():
                raise ValueError(
                    f"{path}: '{label}' has number {number!r}; the official file maps templates to 0, 1, ..."
                )
        return sorted(numbers, key=lambda label: int(numbers[label]))

    def listed_clips(self) -> Iterator[Clip]:
        """Yield the clips of the training list, then those of the validation list."""
        videos = Videos(need_folder(self.config.root, "root"))
        train, test, numbers = self.list_files()
        classes = set(self.labels())
        num_withheld = 0
        for split, path in (("train", train), ("test", test)):
            for where, entry in read_entries(path, "id"):
                if split == "test" and not entry.get("template"):
                    num_withheld += 1
                    continue
                label = str(entry.get("template", "")).replace("[", "").replace("]", "")
                known_class(label, classes, where, numbers.name)
                file, error = videos.find(f"{entry['id']}.webm")
                yield Clip(str(entry["id"]), file, split, label, error=error, kind=kinds_of_motion().get(label))
        if num_withheld:
            logging.getLogger(__name__).warning("%s: %d clips without a template are left out", test, num_withheld)


@cache
def kinds_of_motion() -> dict[str, str]:
    """Return the kind of motion of each class."""
    classes_by_kind = yaml.safe_load(Path(__file__).with_name("ssv2_kinds.yaml").read_text("utf-8"))
    return {label: kind for kind, labels in classes_by_kind.items() for label in labels}
