"""The contract of a loss term: a number per batch that is added, weighted, to the losses of any method.

A term may have parameters of its own; they train, and they are not part of the checkpoint.

B clips, T frames, C channels, H x W pixels.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from kinetext.backbones.text_table import TextTable
from kinetext.core.plugins import Options
from kinetext.methods.base import LossInputs, Method, Tokens


@dataclass(frozen=True)
class TermInputs:
    """What a term may use of a batch: its frames (None where tokens are cached), tokens, texts, and the losses' inputs."""

    frames_BTCHW: Tensor | None
    tokens: Tokens
    table: TextTable
    losses: LossInputs


class LossTerm(nn.Module):
    """A term, built once for a training."""

    Config: ClassVar[type[Options]] = Options
    tasks: ClassVar[tuple[Literal["classes", "captions"], ...]] = ("classes",)

    def __init__(self, method: Method, config: Any) -> None:
        super().__init__()
        self.config = config
        self.method = (method,)  # a tuple, so that the method is not a part of the term

    def loss(self, inputs: TermInputs) -> Tensor:
        """Return the term, a scalar: the mean over the clips."""
        raise NotImplementedError
