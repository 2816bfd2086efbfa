"""The contract of a data set: a module here, named after itself, with

- `Config`: a frozen plugins.Options;
- `list_clips(config, folder) -> Iterator[Clip]`: every clip of the data set, broken or absent ones too. `folder` is a
  place of its own for data sets that make or convert their files;
- `labels(config) -> list[str]` (optional): class names in their official order; without it those of the clips, sorted;
- `given_pairs(config) -> list[tuple[str, str]]` (optional): pairs of classes that the data set itself declares confusable;
- `CAPTIONED = True` where every clip has captions and none a label: retrieval, not recognition (None: either);
- `check(config)` (optional): raise ValueError, in milliseconds, for what is wrong before anything runs.

Data sets with official annotation files also have, and data/lists.py helps with all of it,

- `root` in their Config, the folder of the videos, and `annotations`, the folder of the lists as published;
- `list_files(config) -> list[Path]`: every annotation file that is read, for their checksums;
- `published(config) -> dict[str, int]`: the sizes that the data set's authors state: clips per split, and `classes`.

Listed clips whose file is absent are yielded like all others. A clip that must not be read says why in `error`. Clips cut
from one video have the same `group`: none of them is set aside for validation, nor judged in mining, without the others.
"""

from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any


@dataclass(frozen=True)
class Clip:
    """One clip of a data set; the fields are the columns of the table `clips`."""

    clip_id: str
    path: Path
    split: str
    label: str | None = None
    captions: list[str] = field(default_factory=list)
    start_s: float | None = None
    end_s: float | None = None
    error: str | None = None
    group: str | None = None


def ask(module: ModuleType, function: str, config: Any, otherwise: Any) -> Any:
    """What an optional function of a data set says; `otherwise` where it has none."""
    return getattr(module, function)(config) if hasattr(module, function) else otherwise
