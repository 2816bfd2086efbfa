"""The base class of text providers, which give the rows of the table `texts` for each class.

A provider is one class in a separate module. It extends `Provider`, has a nested frozen `Config`, and defines
`describe`. Everything else has a default. A control that rearranges the rows of another provider defines `source` and
`rearrange` instead (`_rearranged.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from kinetext.core import plugins
from kinetext.texts.chat.limits import MAX_WORDS, Cost

_CONTROLS = (("appearance", "appearance"), ("random", "random_words"), ("repeated_name", "names"))  # kind, control


@dataclass(frozen=True)
class Text:
    """One sentence about one class. The fields are the columns of the table `texts`."""

    label: str
    sentence: str
    kind: str = "name"
    position: float | None = None  # 0: start, 1: end, None: the whole action (texts/positions.py)
    rival: str | None = None
    source: str = ""
    prompt_version: str | None = None
    model: str | None = None
    date: str | None = None
    request_hash: str | None = None
    clips: str | None = None  # ids of the training clips that the sentence describes, separated by " | "
    status: str = "ok"

    def row(self) -> dict[str, Any]:
        """Return the sentence as a row of the table `texts`."""
        return dict(vars(self))


@dataclass(frozen=True)
class Context:
    """The information that is the same for all classes of a table."""

    labels: list[str] = field(default_factory=list)  # of the data set, described or not
    cache: Path = Path("results/cache")  # folder of cached replies
    captions: dict[str, list[str]] = field(default_factory=dict)  # clip_id -> its captions
    confusion: dict[tuple[str, str], float] = field(default_factory=dict)  # (class, rival) -> score of the mining rule
    train_clips: dict[str, list[str]] = field(default_factory=dict)  # class -> clip_ids of its training clips
    frames: Path | None = None  # frames.json of the data set; for a provider that `reads_clips`
    max_words: int = MAX_WORDS  # to request per sentence, so that it fits the token limit of the backbone


class Provider:
    """Base class of all text providers, with defaults for everything optional."""

    Config: ClassVar[type[plugins.Options]] = plugins.Options

    gives_descriptions: bool = True  # False: names or captions only
    of_captions: ClassVar[bool] = False  # for data sets with captions; `label` is then a clip_id
    reads_clips: ClassVar[bool] = False  # whether it needs the frames of training clips (Context.frames)
    control: ClassVar[bool] = False  # says nothing true about the motion of a class

    def __init__(self, config: Any):
        self.config = config

    @property
    def paid(self) -> bool:
        """Whether answers cost money. If so, a process that survives a kill of the command waits for open answers."""
        return False

    @property
    def at_once(self) -> int:
        """The number of classes that are described in parallel."""
        return 1

    @property
    def max_repairs(self) -> int:
        """The maximum number of times that `repair` is called for a class."""
        return 0

    @property
    def sentences(self) -> int | None:
        """The number of sentences about the whole movement that each answer must have; None: any number."""
        return None

    @property
    def steps(self) -> int | None:
        """The number of sentences between start and end that each answer must have; None: any number."""
        return None

    @property
    def skip_checks(self) -> bool:
        """Whether sentences are used unchecked."""
        return False

    @property
    def needs_confusion(self) -> bool:
        """Whether it needs the scores of the mining rule (Context.confusion)."""
        return False

    @property
    def source(self) -> "Provider | None":
        """The provider whose table `rearrange` gets; None if this provider describes classes itself."""
        return None

    def check(self) -> None:
        """Raise ValueError, `OPTION: ...`, for an option that cannot work, before anything costs time or money."""

    def list_files(self) -> list[Path]:
        """Return the files that the provider reads. If one of them changes, its tables are written again."""
        return []

    def estimate_cost(self, labels: Sequence[str], train_clips: Mapping[str, int] | None = None) -> Cost | None:
        """Return the approximate cost of the requests for these classes, as if no reply were cached.

        `train_clips` are the numbers of training clips of the classes, if known. None is returned if nothing is requested
        from a language model. The default is the estimate of `source`, if there is one.
        """
        return None if self.source is None else self.source.estimate_cost(labels, train_clips)

    def prepare(self, rivals: dict[str, list[str]], context: Context) -> None:
        """Prepare a table before its first class is described. `rivals` maps each class to its rivals.

        Raises ValueError to refuse the whole table, for example if it costs too much.
        """

    def describe(self, label: str, rivals: list[str], context: Context) -> list[Text]:
        """Return the rows of one class, or of one clip if `of_captions`.

        `rivals` are the classes that `label` is confused with, the most easily confused first. Raises ValueError if no
        class can be described, for example because the key is missing. After any other exception only this class is not
        described.
        """
        raise NotImplementedError

    def repair(self, label: str, rivals: list[str], texts: list[Text], context: Context) -> list[Text]:
        """Return new rows for a class whose answer has faults.

        `texts` are the rows of the class with their statuses (texts/checks.py). A class without an answer (`failed`) is
        not repaired. If this raises an exception, the class keeps its rows.
        """
        return texts

    def rearrange(self, texts: dict[str, list[Text]], rivals: dict[str, list[str]]) -> dict[str, list[Text]]:
        """Return the checked table of `source`, label -> rows, with the descriptions assigned to other classes."""
        raise NotImplementedError

    def refine(self, texts: dict[str, list[Text]], context: Context) -> dict[str, list[Text]] | None:
        """Return the checked table of `source` with new descriptions added, which then replace the old ones of a class.

        `wrote` distinguishes them. None, the default: `rearrange` is called instead.
        """
        return None

    def wrote(self, text: Text) -> bool:
        """Return whether this provider wrote a row, which is then checked and may be repaired.

        Other rows are those of `source`, which keep their status.
        """
        return True

    def control_name(self, texts: list[Text]) -> str | None:
        """Return the name of the control that a finished table is, or None if it holds true descriptions of motion.

        The name is stored as `control` in the metadata of the table.
        """
        kinds = {text.kind for text in texts}
        for kind, name in _CONTROLS:
            if kind in kinds:
                return name
        return type(self).__module__.rpartition(".")[2] if self.control else None


def load_provider(where: str, module: str, options: dict[str, Any]) -> Provider:
    """Return a provider whose options have been checked.

    Raises ValueError, `{where}: ...` or `{where}.options.KEY: ...`, for an unknown provider or a wrong option.
    """
    provider = plugins.load_for(where, "texts", module)
    with plugins.error_prefix(f"{where}.options"):
        loaded: Provider = provider(plugins.configure(provider, options))
        loaded.check()
    return loaded
