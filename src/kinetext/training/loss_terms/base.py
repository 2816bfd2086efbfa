"""The interface of a loss term: a weighted scalar per batch that is added to the losses of any method.

A term may have parameters. They train with the method but are not written to the checkpoint.

B clips, T frames, C channels, H x W pixels.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from kinetext.backbones.text_table import TextTable
from kinetext.core.plugins import Options
from kinetext.methods.base import LossInputs, Method, Tokens


@dataclass(frozen=True)
class TermInputs:
    """The inputs of a loss term for one batch: frames (None if tokens are cached), tokens, texts and loss inputs."""

    frames_BTCHW: Tensor | None
    tokens: Tokens
    table: TextTable
    losses: LossInputs
    other_B: Tensor | None = None  # class of the clip that is mixed into each clip (mixup, CutMix)
    share: float = 1.0  # weight of the clip itself in the mixture


def mixed_losses(method: Method, inputs: LossInputs, other_B: Tensor | None, share: float) -> dict[str, Tensor]:
    """Return the losses of a method: of the clips' classes, weighted with those of the clips mixed into them, if any."""
    losses = method.losses(inputs)
    if other_B is None:
        return losses
    of_other = method.losses(replace(inputs, target_B=other_B))
    return {name: share * loss + (1 - share) * of_other[name] for name, loss in losses.items()}


class LossTerm(nn.Module):
    """A loss that is added to the losses of a method. One object serves the whole training."""

    Config: ClassVar[type[Options]] = Options
    tasks: ClassVar[tuple[Literal["classes", "captions"], ...]] = ("classes",)

    def __init__(self, method: Method, config: Any) -> None:
        super().__init__()
        self.config = config
        self.method = (method,)  # a tuple, so that the method is not a part of the term

    def loss(self, inputs: TermInputs) -> Tensor:
        """Return the loss, a scalar: the mean over the clips."""
        raise NotImplementedError
