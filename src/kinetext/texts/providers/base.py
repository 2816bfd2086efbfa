"""The contract of a text provider: what the table `texts` says about each class.

A provider is one class in a module of its own. It extends `Provider`, has a nested frozen `Config`, and defines
`describe`. Everything else has a default. A control that rearranges the rows of another provider defines `source` and
`rearrange` instead (`_rearranged.py`).
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from kinetext.core import plugins


@dataclass(frozen=True)
class Text:
    """One sentence about one class. The fields are the columns of the table `texts`."""

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
        """Return the row of the table `texts`."""
        return dict(vars(self))


@dataclass(frozen=True)
class Context:
    """What all classes of one table share."""

    labels: list[str] = field(default_factory=list)  # of the data set, described or not
    cache: Path = Path("results/cache")  # folder of cached replies
    captions: dict[str, list[str]] = field(default_factory=dict)  # clip_id -> its captions


class Provider:
    """Base class of all text providers, with the defaults of everything optional."""

    Config: ClassVar[type[plugins.Options]] = plugins.Options

    gives_descriptions: ClassVar[bool] = True  # False: names or captions only
    of_captions: ClassVar[bool] = False  # for data sets with captions; `label` is then a clip_id
    control: ClassVar[bool] = False  # says nothing true about the motion of a class

    def __init__(self, config: Any):
        self.config = config

    @property
    def paid(self) -> bool:
        """Whether answers cost money. A process that survives a kill of the command then waits for them."""
        return False

    @property
    def at_once(self) -> int:
        """How many classes are described at the same time."""
        return 1

    @property
    def max_repairs(self) -> int:
        """How many times `repair` is called for a class."""
        return 0

    @property
    def sentences(self) -> int | None:
        """How many sentences about the whole movement each answer must have; None: any number."""
        return None

    @property
    def skip_checks(self) -> bool:
        """Whether sentences are used unchecked."""
        return False

    @property
    def source(self) -> "Provider | None":
        """The provider whose table `rearrange` takes. None: this provider describes classes itself."""
        return None

    def check(self) -> None:
        """Raise ValueError, `OPTION: ...`, for options that cannot work, before anything costs time or money."""

    def list_files(self) -> list[Path]:
        """Return the files that the provider reads. If one changes, its tables are made again."""
        return []

    def prepare(self, rivals: dict[str, list[str]], context: Context) -> None:
        """Prepare a table, given the rivals of each of its classes, before the first class is described.

        Raises ValueError to refuse the whole table, for example if it costs too much.
        """

    def describe(self, label: str, rivals: list[str], context: Context) -> list[Text]:
        """Return the rows of one class, or of one clip if `of_captions`.

        `rivals` are the classes it is confused with, the most easily confused first. Raises ValueError if no class can
        be described, for example for a missing key; any other exception costs this class only.
        """
        raise NotImplementedError

    def repair(self, label: str, rivals: list[str], texts: list[Text], context: Context) -> list[Text]:
        """Return new rows of a class whose answer has faults, given its rows with their statuses (texts/checks.py).

        Not called for a class without an answer (`failed`). An exception leaves the class as it is.
        """
        return texts

    def rearrange(self, texts: dict[str, list[Text]], rivals: dict[str, list[str]]) -> dict[str, list[Text]]:
        """Return the checked table of `source`, by label, with its descriptions at other classes."""
        raise NotImplementedError

    def control_name(self, texts: list[Text]) -> str | None:
        """Return which control the finished table is, None for motion descriptions: metadata `control` of the table."""
        kinds = {text.kind for text in texts}
        for kind, name in (("appearance", "appearance"), ("random", "random_words")):
            if kind in kinds:
                return name
        return type(self).__module__.rpartition(".")[2] if self.control else None


def load_provider(where: str, module: str, options: dict[str, Any]) -> Provider:
    """Return a provider with checked options. Raises ValueError: `{where}: ...` or `{where}.options.KEY: ...`."""
    provider = plugins.load_for(where, "texts", module)
    with plugins.error_prefix(f"{where}.options"):
        loaded: Provider = provider(plugins.configure(provider, options))
        loaded.check()
    return loaded
