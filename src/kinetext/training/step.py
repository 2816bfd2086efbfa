"""The gradient of a batch, however large it is and however many processes share it.

As a rule that is one forward and one backward pass, and DistributedDataParallel adds gradients up while the backward pass is
still going on. A batch that does not fit goes through in pieces, with the same gradient but for rounding:

- recognition accumulates, for its loss is a mean over clips. Class texts that train are encoded once, and what all pieces
  say of their features goes back through the text tower at the end;
- the contrastive loss of retrieval is not a mean over clips: its gradient is cached (GradCache: Gao et al., RepL4NLP 2021).
  Features of all pieces without a graph, the loss of the whole batch over them, its gradient at each feature; then every
  piece once more with a graph, through which that gradient goes back. It costs a forward pass more.

What a step draws (dropout, stochastic depth) depends on the seed, the epoch, the step, the process and the piece, and on
nothing else: a piece that is computed twice draws the same twice, and a resumed training what it would have drawn.
"""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from kinetext.core import distributed
from kinetext.training.batches import Batch
from kinetext.training.features import cut, each, joined, leaf, pull
from kinetext.training.objectives import Recognition, Retrieval

log = logging.getLogger(__name__)
RUN_OUT = ("cuda",)  # devices that say so when their memory is full; what fills a CPU's is killed
ALL = 2**31 - 1

Loss = Callable[[], Tensor]
Seeds = list[tuple[int, ...]]  # one for each piece, and one for the texts


class Step:
    """The gradients of a task's batches. `most` is how many clips go through a process at once; None: all that it has."""

    def __init__(self, task: Recognition | Retrieval, trained: list[nn.Parameter], most: int | None = None) -> None:
        self.task, self.trained, self.most = task, trained, most
        self._reduced = None
        if distributed.world_size() > 1:
            self._reduced = DistributedDataParallel(_Reduced(trained), gradient_as_bucket_view=True)

    def __call__(self, batch: Batch, place: tuple[int, ...]) -> Tensor:
        """The gradient of the whole batch's loss, at every trained parameter; the loss, whose mean over processes is the
        batch's. `place` says which step it is: seed, epoch, number.
        """
        if self.most is not None and self.most < max(batch.sizes):
            return self._in_pieces(batch, place, self.most)
        loss = self.forward(batch, place)
        loss.backward()
        return loss.detach()

    def forward(self, batch: Batch, place: tuple[int, ...]) -> Tensor:
        """The loss of the clips here, all at once, with its graph."""
        draw_anew(*place, distributed.rank(), 0)
        return self._last(lambda: self.task.loss(batch))

    def _in_pieces(self, batch: Batch, place: tuple[int, ...], most: int) -> Tensor:
        pieces = batch.pieces(most)
        seeds = [(*place, distributed.rank(), number) for number in range(len(pieces) + 1)]
        if isinstance(self.task, Recognition):
            return accumulated(self.task, batch, pieces, seeds, self._last)
        return cached(self.task, batch, pieces, seeds, self._last)

    def _last(self, loss: Loss) -> Tensor:
        """A loss whose backward pass adds gradients up over processes; those of passes before it stay here till then."""
        return loss() if self._reduced is None else self._reduced(loss)

    def try_out(self, batch: Batch, most: int, spare_bytes: int = 0) -> str | None:
        """Why the clips here do not go through in pieces of `most`, with so much memory to spare; None if they do."""
        reduced, self._reduced = self._reduced, None  # no other process waits for this one
        on_gpu = self.trained[0].device.type == "cuda"
        try:
            if on_gpu:
                torch.cuda.reset_peak_memory_stats()
            self._in_pieces(batch.alone(), (0,), most)
            if on_gpu and torch.cuda.max_memory_allocated() + spare_bytes > 0.95 * torch.cuda.mem_get_info()[1]:
                return "nothing would be left for the optimiser"
        except torch.OutOfMemoryError as error:
            return told(error)
        finally:
            self._reduced = reduced
            for parameter in self.trained:
                parameter.grad = None
        return None


def accumulated(
    task: Recognition, batch: Batch, pieces: list[slice], seeds: Seeds, last: Callable[[Loss], Tensor]
) -> Tensor:
    """Gradients of a loss that is a sum over pieces; the loss."""
    draw_anew(*seeds[-1])
    text = task.text()
    leaves = each(leaf, text)
    losses = []
    for piece, seed in zip(pieces[:-1], seeds, strict=False):
        draw_anew(*seed)
        loss = task.loss(batch, piece, leaves)
        loss.backward()
        losses.append(loss.detach())

    def rest() -> Tensor:
        draw_anew(*seeds[-2])
        loss = task.loss(batch, pieces[-1], text)
        losses.append(loss.detach())
        return loss + pull(text, each(lambda tensor: tensor.grad, leaves))

    last(rest).backward()
    return torch.stack(losses).sum()


def cached(task: Retrieval, batch: Batch, pieces: list[slice], seeds: Seeds, last: Callable[[Loss], Tensor]) -> Tensor:
    """Gradients of a loss over all clips at once, by a second pass over the pieces; the loss."""

    def encode(number: int) -> Any:
        draw_anew(*seeds[number])
        return task.encode(batch, pieces[number])

    with torch.no_grad():
        features = joined([encode(number) for number in range(len(pieces))])
    leaves = each(leaf, features)
    loss = task.contrast(leaves, batch)
    loss.backward()
    gradients = [cut(each(lambda tensor: tensor.grad, leaves), piece) for piece in pieces]
    for number in range(len(pieces) - 1):
        pull(encode(number), gradients[number]).backward()
    last(lambda: pull(encode(len(pieces) - 1), gradients[-1])).backward()
    return loss.detach()


def draw_anew(*place: int) -> None:
    """Have all that is drawn from now on depend on these numbers alone."""
    torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0]))


class _Reduced(nn.Module):
    """What DistributedDataParallel wraps: the trained parameters, and any loss of them."""

    def __init__(self, trained: list[nn.Parameter]) -> None:
        super().__init__()
        self.trained = nn.ParameterList(trained)

    def forward(self, loss: Loss) -> Tensor:
        return _TakePart.apply(loss(), *self.trained)


class _TakePart(torch.autograd.Function):
    """A loss as it is, in which every parameter has a part. Its backward pass reaches those too of which the loss knows
    nothing, with no gradient for them, and so also what earlier passes have left there is handed over.
    """

    @staticmethod
    def forward(context: Any, loss: Tensor, *trained: Tensor) -> Tensor:
        context.count = len(trained)
        return loss.clone()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return (gradients[0], *[None] * context.count)


def update(trained: list[nn.Parameter], optimiser: Any, schedule: Any, clip_norm: float) -> None:
    """A step along the gradients, which are gone afterwards. A parameter that has none gets zeros, as it has among several
    processes.
    """
    for parameter in trained:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    nn.utils.clip_grad_norm_(trained, clip_norm)
    optimiser.step()
    schedule.step()
    optimiser.zero_grad()


def pieces_that_fit(step: Step, batch: Batch, spare_bytes: int = 0) -> int | None:
    """How many clips at once fit into the memory of every process; None: all that it has. Where that is not all, says so.
    Raises ValueError where not even one fits.
    """
    most = len(batch.places)
    reason = None
    while full := step.try_out(batch, most, spare_bytes):
        if most == 1:
            raise ValueError(
                f"not even one clip fits into memory ({full}); set training.gradient_checkpointing: true, or take fewer frames"
            )
        reason, most = full, -(-most // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    least = -distributed.maximum(-(most if reason else ALL))
    if least == ALL:
        return None
    shared = f" for {distributed.world_size()} processes" if distributed.world_size() > 1 else ""
    log.warning(
        "a batch of %d clips%s does not fit into memory (%s): it goes through in %d parts of %d, with the same gradient",
        *(len(batch.text_N), shared, reason or "another process's", -(-max(batch.sizes) // least), least),
    )
    return least


def told(error: torch.OutOfMemoryError) -> str:
    """What an out-of-memory error says first."""
    return ". ".join(str(error).split(". ")[:2]).strip()
