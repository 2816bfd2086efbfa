"""The contract of a provider: a module here, named after itself, with

- `Config`: a frozen registry.Options;
- `describe(label, rivals, config, context) -> list[Text]`: what the provider says of one class. `rivals` are the class
  names it is taken for, the likeliest first.
- `check(config)` (optional): raise ValueError before anything costs money, such as a missing key.
- `prepare(asked, config, context) -> None` (optional): called once before any class is described, with the rivals of each
  class; raises ValueError to refuse the table as a whole, such as one that costs too much.
- `mend(label, rivals, texts, config, context) -> list[Text]` (optional): given a class's rows with their statuses, try
  once to mend those that are not ok; the new rows. `config.reasks` says how often it may be called for a class.
- `OF_CAPTIONS = True` if it is for data sets with captions, where `label` is a clip's name.

`Context` carries what is common to a table: every label of the data set, a folder for cached replies, and the captions
of clips.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Text:
    """One sentence about one class; the fields are the columns of the table `texts`."""

    label: str
    sentence: str
    kind: str = "name"
    phase: str = "whole"
    rival: str | None = None
    source: str = ""
    prompt_version: str | None = None
    model: str | None = None
    date: str | None = None
    request_hash: str | None = None
    status: str = "ok"

    def row(self) -> dict[str, Any]:
        """The row of the table `texts`."""
        return asdict(self)


@dataclass(frozen=True)
class Context:
    """What all classes of one table share."""

    labels: list[str] = field(default_factory=list)
    cache: Path = Path("results/cache")
    captions: dict[str, list[str]] = field(default_factory=dict)  # clip_id -> what is said of it
