"""The interface of a method that reads frames and has no backbone, such as a multimodal model behind an API.

`predict_clips` (evaluation/predict_frames.py) queries such a method with one clip at a time. The method receives the
frames, the choices, and labelled training clips if it uses examples. Nothing trains.

T frames, C channels (RGB), H x W pixels, K choices.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from kinetext.backbones.base import Backbone
from kinetext.methods.base import Method, SearchSpace, Task


@dataclass(frozen=True)
class Choice:
    """A class with its descriptions, or a caption (then `text` is the caption and there are no descriptions)."""

    text: str
    descriptions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Example:
    """A labelled training clip: frames uint8 [T, C, H, W], and the index of its class among the choices."""

    frames_TCHW: Tensor
    index: int


@dataclass(frozen=True)
class Question:
    """The question about every clip of a split: K choices, and examples."""

    choices: Sequence[Choice]
    examples: Sequence[Example] = ()
    captions: bool = False  # whether the choices are captions


@dataclass(frozen=True)
class Answer:
    """The scores of a clip for the K choices. None if there is no usable answer; `note` has the reason.

    `replied` is False if the server sent no reply, so that a retry may succeed.
    """

    score_K: np.ndarray | None
    note: str | None = None
    replied: bool = True


@dataclass(frozen=True)
class Cost:
    """The cost of all answers of a run so far, cached replies included. `usd` is None if prices are unknown."""

    requests: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    usd: float | None = None
    sent: int = 0  # requests that were not cached
    models: list[str] = field(default_factory=list)  # as the server names them


class FrameMethod(Method):
    """Base class of methods that read frames. Subclasses define `start`, `answer` and `cost`."""

    reads = "frames"
    trains: ClassVar[bool] = False
    needs_text: ClassVar[bool] = False
    tasks: ClassVar[tuple[Task, ...]] = ("classes", "captions")
    search_space: ClassVar[SearchSpace] = {}

    def __init__(self, backbone: Backbone | None, config: Any) -> None:
        """Keep the options. `backbone` is ignored."""
        super().__init__(None, config)  # type: ignore[arg-type]

    @property
    def at_once(self) -> int:
        """The number of clips that are queried in parallel."""
        return 1

    @property
    def frame_orders(self) -> tuple[str, ...]:
        """The frame orders (core/schemas.py, FRAME_ORDERS) in which clips are queried."""
        return ("ordered",)

    @property
    def num_examples(self) -> int:
        """The number of training clips that each question shows with their classes."""
        return 0

    @property
    def num_descriptions(self) -> int:
        """The largest number of descriptions per choice that a question shows."""
        return 0

    @property
    def max_choices(self) -> int | None:
        """The largest number of choices that a question may have; None: no limit."""
        return None

    @property
    def max_no_reply(self) -> float:
        """The fraction of questions that may get no reply and count as wrong."""
        return 0.0

    def start(self, seed: int, cache: Path) -> None:
        """Prepare for the questions of a run with this seed. Replies are cached in the folder `cache`."""
        raise NotImplementedError(f"{type(self).__name__} does not define `start`")

    def answer(self, frames_TCHW: Tensor, question: Question) -> Answer:
        """Return the answer about a clip, uint8 [T, C, H, W]. Threads call it in parallel.

        Raises ValueError for errors that affect every clip.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define `answer`")

    def cost(self) -> Cost:
        """Return the cost of the answers."""
        raise NotImplementedError(f"{type(self).__name__} does not define `cost`")
