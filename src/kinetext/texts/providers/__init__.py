"""The contract of a provider: a module here, named after itself, with

- `Config`: a frozen plugins.Options;
- `describe(label, rivals, config, context) -> list[Text]`: what the provider says of one class. `rivals` are the class
  names it is taken for, the likeliest first.
- or, for a control made of what another provider says, `of(config) -> (provider, its config)` and
  `rearrange(told, rivals, config) -> told`, where `told` has each class's rows: the whole table, described and checked as
  the other provider's own, comes in, and goes out with sentences at other classes. `rivals` has each class's.
- `check(config)` (optional): raise ValueError before anything costs money, such as a missing key.
- `prepare(asked, config, context) -> None` (optional): called once before any class is described, with the rivals of each
  class; raises ValueError to refuse the table as a whole, such as one that costs too much.
- `repair(label, rivals, texts, config, context) -> list[Text]` (optional): all rows of a class anew, given its rows with
  their statuses (texts/checks.py); called up to `max_repairs` (of its Config) times for a class in which an answer has a
  fault, and not for want of an answer (`failed`). What it raises costs nothing but this class's mending.
- `list_files(config) -> list[Path]` (optional): files that it reads; when one changes, its tables are made again.
- `OF_CAPTIONS = True` if it is for data sets with captions, where `label` is a clip's name.
- `PAID = True` if its answers cost money: they are then waited for by a process that outlives the command (outlive.py).
- `CONTROL = True` if it says nothing about motion that is true of the class: what descriptions have to beat.

Read from a Config where it has them: `at_once`, how many classes are worked on at once; `max_repairs`; `sentences`, how many about the whole
movement each answer must have; `skip_checks`, whether sentences are used unchecked.

`Context` carries what is common to a table: every label of the data set, a folder for cached replies, and the captions
of clips.
"""

from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
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
        return dict(vars(self))


@dataclass(frozen=True)
class Context:
    """What all classes of one table share."""

    labels: list[str] = field(default_factory=list)
    cache: Path = Path("results/cache")
    captions: dict[str, list[str]] = field(default_factory=dict)  # clip_id -> what is said of it


def control_name(provider: ModuleType, texts: list[Text]) -> str | None:
    """Which control a table is, None for one of motion descriptions: metadata `control` of the table `texts`.

    A control is a provider with CONTROL = True, known by its module's name, or whatever says nothing about motion.
    """
    kinds = {text.kind for text in texts}
    for kind, name in (("appearance", "appearance"), ("random", "random_words")):
        if kind in kinds:
            return name
    return provider.__name__.rpartition(".")[2] if getattr(provider, "CONTROL", False) else None
