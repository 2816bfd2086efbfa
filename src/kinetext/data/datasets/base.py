"""The interface of a data set: which clips it has, in which splits, with which labels or captions."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from kinetext.config.data import DatasetOptions
from kinetext.core import plugins
from kinetext.data.lists import need_folder


@dataclass(frozen=True)
class Clip:
    """One clip of a data set. The fields are columns of the table `clips`.

    A clip has either a `label` or `captions`. In a multi-label data set it has one or more `labels`, and `label` is
    None. `error` says why a clip cannot be read. Such clips, and clips whose file is missing, are listed like all
    others. `group` names the source of a clip, such as a film: clips of one group are never split between training and
    validation. `kind` is the kind of motion that the clip shows; accuracy is measured for each kind as well.
    """

    clip_id: str
    path: Path
    split: str  # train, val, test
    label: str | None = None
    captions: list[str] = field(default_factory=list)
    start_s: float | None = None
    end_s: float | None = None
    error: str | None = None
    group: str | None = None
    labels: list[str] = field(default_factory=list)
    kind: str | None = None

    @property
    def classes(self) -> list[str]:
        """Return the classes of the clip: [`label`], or its `labels`; an empty list if it has captions."""
        return self.labels if self.label is None else [self.label]


class Dataset(ABC):
    """Base class of all data sets. Everything optional has a default. The nested class `Config` has the options."""

    Config: ClassVar[type[plugins.Options]] = plugins.Options
    captioned: ClassVar[bool | None] = False
    """True: each clip has captions and no label (retrieval). None: the annotation files decide."""

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def list_clips(self, folder: Path) -> Iterator[Clip]:
        """Yield every clip of the data set, including broken and missing ones.

        `folder` is where the data set may write videos that it renders or converts. Raises ValueError, with file and
        line, if an annotation file is wrong.
        """

    @property
    def multi_label(self) -> bool:
        """Return whether a clip may have several labels."""
        return False

    @property
    def root(self) -> Path | None:
        """The folder of the videos; None for a data set that renders its own."""
        root = getattr(self.config, "root", None)
        return Path(root).expanduser() if root else None

    def check(self) -> None:
        """Raise ValueError if a folder or a file is missing. The check must take only milliseconds."""
        if self.root is not None:
            need_folder(str(self.root), "root")
        self.list_files()

    def list_files(self) -> list[Path]:
        """Return the annotation files that the data set reads. Raises ValueError if one is missing."""
        return []

    def skipped(self) -> list[str]:
        """Return folders and files that contain no clip, each with the reason.

        The list is empty for data sets with annotation files.
        """
        return []

    def labels(self) -> list[str] | None:
        """Return the class names in their official order, or None to use the sorted classes of the clips."""
        return None

    def declared_pairs(self) -> list[tuple[str, str]]:
        """Return the pairs of classes that the data set declares confusable."""
        return []

    def zero_validation_option(self) -> str | None:
        """Return the name of the option because of whose value 0 there are no validation clips.

        Return None if there are validation clips, or if only the files determine whether there are any.
        """
        for name in ("val_share", "val"):
            if getattr(self.config, name, None) == 0:
                return name
        return None

    def drawing_info(self, media: Path) -> dict[str, Any]:
        """Return `level` and `version` (data/drawing.py) of clips that the data set drew and that can be audited.

        `media` is the folder of their files. The version is None if it is unknown or differs between files. The result
        is empty for other data sets.
        """
        return {}

    def published(self) -> dict[str, int]:
        """Return the numbers that the authors publish: clips per split, and `classes`. Unknown numbers are left out."""
        return {}


def build_dataset(name: str, options: DatasetOptions) -> Dataset:
    """Build the data set `name` of the configuration. Raises ValueError if its module or an option is wrong."""
    plugin = plugins.load("datasets", options.module or name)
    return plugin(plugins.configure(plugin, options.options))


def set_aside(clips: Iterable[Clip], share: float, seed: int) -> Iterator[Clip]:
    """Yield the clips. Each training clip becomes a validation clip with probability `share`.

    The random choice depends only on the seed and the group of a clip, or its clip_id if it has no group. Clips of one
    group therefore stay together, and adding or removing other clips changes nothing.
    """
    for clip in clips:
        if clip.split == "train":
            digest = hashlib.sha256(f"{seed} {clip.group or clip.clip_id}".encode(errors="surrogateescape")).digest()
            if int.from_bytes(digest[:8], "big") < share * 2**64:
                clip = replace(clip, split="val")
        yield clip
