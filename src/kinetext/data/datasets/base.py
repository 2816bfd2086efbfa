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
    """One clip of a data set; the fields are the columns of the table `clips`.

    `error` says why a clip must not be read; such clips and clips whose file is absent are listed like all others.
    `group` names what a clip was cut from, e.g. a film: clips of one group are never split between training and
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


class Dataset(ABC):
    """A data set. A plug-in extends this class, with its options as a nested `Config`."""

    Config: ClassVar[type[plugins.Options]] = plugins.Options
    captioned: ClassVar[bool | None] = False
    """True: each clip has captions and no label (retrieval). None: the annotation files decide."""

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def list_clips(self, folder: Path) -> Iterator[Clip]:
        """Yield each clip of the data set, also broken and absent ones.

        `folder` belongs to the data set, for files that it renders or converts. Raises ValueError if the annotation
        files are wrong, with file and line.
        """

    @property
    def root(self) -> Path | None:
        """Return the folder of the user's videos; None for a data set that makes its own."""
        root = getattr(self.config, "root", None)
        return Path(root).expanduser() if root else None

    def check(self) -> None:
        """Raise ValueError if a folder or a file is missing; takes milliseconds."""
        if self.root is not None:
            need_folder(str(self.root), "root")
        self.list_files()

    def list_files(self) -> list[Path]:
        """Return the annotation files that are read. Raises ValueError if one is missing."""
        return []

    def skipped(self) -> list[str]:
        """Return the folders and files of the user that give no clip, each with the reason; lists have none."""
        return []

    def labels(self) -> list[str] | None:
        """Return the class names in their official order; None: those of the clips, sorted."""
        return None

    def declared_pairs(self) -> list[tuple[str, str]]:
        """Return the pairs of classes that the data set itself declares confusable."""
        return []

    def published(self) -> dict[str, int]:
        """Return the sizes that the authors state: the number of clips of a split by its name, and `classes`."""
        return {}


def build_dataset(name: str, options: DatasetOptions) -> Dataset:
    """Return the data set that a configuration calls `name`. Raises ValueError if the module or an option is wrong."""
    plugin = plugins.load("datasets", options.module or name)
    return plugin(plugins.configure(plugin, options.options))


def set_aside(clips: Iterable[Clip], share: float, seed: int) -> Iterator[Clip]:
    """Yield the clips, a share of the training clips turned into validation clips.

    A clip's group, or its clip_id where it has none, decides. So clips of one group stay together, and other clips have
    no influence.
    """
    for clip in clips:
        if clip.split == "train":
            digest = hashlib.sha256(f"{seed} {clip.group or clip.clip_id}".encode(errors="surrogateescape")).digest()
            if int.from_bytes(digest[:8], "big") < share * 2**64:
                clip = replace(clip, split="val")
        yield clip
