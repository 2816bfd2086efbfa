"""The contract of a data set: a module here, named after itself, with

- `Config`: a frozen registry.Options;
- `list_clips(config, folder) -> Iterator[Clip]`: every clip of the data set, broken or absent ones too. `folder` is a
  place of its own for data sets that make or convert their files;
- `labels(config) -> list[str] | None`: class names in their official order; None: take them from the clips, sorted;
- `given_pairs(config) -> list[tuple[str, str]]`: pairs of classes that the data set itself declares confusable;
- `check(config)` (optional): raise ValueError, in milliseconds, for what is wrong before anything runs.
"""

from dataclasses import dataclass, field
from pathlib import Path


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
