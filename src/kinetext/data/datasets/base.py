"""The contract of a data set: which clips it has, in which splits, with which labels or captions."""

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
    """One clip of a data set. The fields are the columns of the table `clips`.

    A clip has either a `label` or `captions`. In a multi-label data set it has one or more `labels`, and `label` is
    None. `error` says why a clip cannot be read. Such clips, and clips whose file is missing, are listed like all
    others. `group` names the source of a clip, such as a film: clips of one group are never split between training and
    validation.
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

    @property
    def classes(self) -> list[str]:
        """Return the classes of the clip: its label, or its labels; none if it has captions."""
        return self.labels if self.label is None else [self.label]


class Dataset(ABC):
    """Base class of all data sets, with defaults for everything optional. Options are its nested `Config`."""

    Config: ClassVar[type[plugins.Options]] = plugins.Options
    captioned: ClassVar[bool | None] = False
    """True: each clip has captions and no label (retrieval). None: the annotation files decide."""

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def list_clips(self, folder: Path) -> Iterator[Clip]:
        """Yield every clip of the data set, including broken and missing ones.

        `folder` belongs to the data set, for videos that it renders or converts. Raises ValueError, with file and line,
        if an annotation file is wrong.
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
        """Raise ValueError if a folder or a file is missing. Must take only milliseconds."""
        if self.root is not None:
            need_folder(str(self.root), "root")
        self.list_files()

    def list_files(self) -> list[Path]:
        """Return the annotation files that are read. Raises ValueError if one is missing."""
        return []

    def skipped(self) -> list[str]:
        """Return folders and files that contain no clip, each with the reason. Data sets with lists have none."""
        return []

    def labels(self) -> list[str] | None:
        """Return the class names in their official order; None: the names of the clips, sorted."""
        return None

    def declared_pairs(self) -> list[tuple[str, str]]:
        """Return the pairs of classes that the data set declares confusable."""
        return []

    def without_validation(self) -> str | None:
        """Return the option that sets no validation clips aside; None if there are some, or if only the files decide."""
        for name in ("val_share", "val"):
            if getattr(self.config, name, None) == 0:
                return name
        return None

    def published(self) -> dict[str, int]:
        """Return the published numbers of clips per split, and of `classes`."""
        return {}


def build_dataset(name: str, options: DatasetOptions) -> Dataset:
    """Build the data set that is called `name` in the configuration. Raises ValueError for a wrong module or option."""
    plugin = plugins.load("datasets", options.module or name)
    return plugin(plugins.configure(plugin, options.options))


def set_aside(clips: Iterable[Clip], share: float, seed: int) -> Iterator[Clip]:
    """Yield the clips; a share of the training clips becomes validation clips.

    The choice depends on the group of a clip, or on its clip_id if it has none. Clips of one group therefore stay
    together, and other clips have no influence.
    """
    for clip in clips:
        if clip.split == "train":
            digest = hashlib.sha256(f"{seed} {clip.group or clip.clip_id}".encode(errors="surrogateescape")).digest()
            if int.from_bytes(digest[:8], "big") < share * 2**64:
                clip = replace(clip, split="val")
        yield clip
