"""Read the losses of a training, many steps at a time, because each reading waits for the device.

A training whose loss is not finite or diverges stops here. The losses are always read before a state is saved, so the
last saved state is older than the failure.
"""

import math
from statistics import median

import torch
from torch import Tensor

from kinetext.core import distributed
from kinetext.training.objectives import total
from kinetext.training.state import Progress

READ_EVERY = 50  # steps whose losses are read together


class DivergedError(RuntimeError):
    """The loss is not a finite number, or has grown far beyond its initial value."""


Unread = list[tuple[dict[str, Tensor], list[str]]]  # the named losses of the last steps, with the clips of each


def read_losses(unread: Unread, progress: Progress, divergence_factor: float | None = None) -> None:
    """Add the losses of the last steps to `progress`, averaged over processes.

    Raises DivergedError, which names the step and the clips, if a loss is not finite, or if the median of the last
    READ_EVERY losses exceeds `divergence_factor` times the median of the first READ_EVERY losses (or 1, if larger).
    """
    if not unread:
        return
    names = list(unread[0][0])
    rows = [torch.stack([total(losses), *losses.values()]) for losses, _ in unread]
    values, *terms = distributed.mean(torch.stack(rows)).T.tolist()
    for number, value in enumerate(values):
        if not math.isfinite(value):
            raise DivergedError(f"the loss is {value} {_where(unread, number, progress)}")
    progress.losses += values
    for name, term_values in zip(names, terms, strict=True):
        progress.terms[name] = progress.terms.get(name, []) + term_values
    progress.start += values[: READ_EVERY - len(progress.start)]
    progress.recent = (progress.recent + values)[-READ_EVERY:]
    if divergence_factor is not None and len(progress.recent) == READ_EVERY:
        now, first = median(progress.recent), max(1.0, median(progress.start))
        if now > divergence_factor * first:
            worst = values.index(max(values))
            raise DivergedError(
                f"the loss diverges: {now:.3g} is the median of the last {READ_EVERY} steps, {first:.3g} at the start, "
                f"{values[worst]:.3g} {_where(unread, worst, progress)}, or raise training.divergence_factor"
            )
    unread.clear()


def epoch_means(progress: Progress) -> dict[str, float]:
    """Return the mean losses of the epoch: `train_loss`, and `train_loss_TERM` for each term if there are several."""
    means = {"train_loss": _mean(progress.losses)}
    if len(progress.terms) > 1:
        means |= {f"train_loss_{name}": _mean(values) for name, values in progress.terms.items()}
    return means


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _where(unread: Unread, number: int, progress: Progress) -> str:
    step = progress.step - len(unread) + number + 1
    return f"at step {step} of epoch {progress.epoch + 1}; clips {', '.join(unread[number][1])}; lower lr"
