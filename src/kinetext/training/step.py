"""Compute the gradient of a batch that does not fit into memory, piece by piece. The result equals the gradient of the
whole batch up to rounding.

Recognition accumulates gradients, because its loss is a mean over clips. The texts of the classes are encoded once. The
gradients of all pieces with respect to the text features are summed and pass through the text encoder at the end.

Retrieval caches gradients (GradCache: Gao et al., RepL4NLP 2021), because its contrastive loss compares all clips of
the batch. A first pass without autograd computes the features of all pieces, then the loss and its gradient with
respect to each feature. A second pass with autograd propagates these gradients through the model. This adds one forward
pass.

Random draws (dropout, stochastic depth) depend only on the seed, the epoch, the step, the process and the piece.
Therefore both passes over a piece draw identical numbers, and so does a training that resumes.
"""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kinetext.core import distributed
from kinetext.training.batches import Batch
from kinetext.training.features import concatenate, detached_leaf, map_tensors, slice_rows, surrogate_loss
from kinetext.training.objectives import Objective, Recognition, Retrieval, total

log = logging.getLogger(__name__)

Losses = dict[str, Tensor]  # named terms
Loss = Callable[[], Tensor]
Reduce = Callable[[Loss], Tensor]  # returns a loss whose backward pass also sums gradients over processes
Key = tuple[int, ...]  # what random draws depend on: seed, epoch, step


class PiecewiseStep:
    """Compute the gradient of a batch from pieces of at most `size` clips.

    `reduce` calls a function that computes a loss and returns a loss whose backward pass also averages the gradients
    over processes. The default is for a single process.
    """

    def __init__(
        self, objective: Objective, parameters: list[nn.Parameter], size: int, reduce: Reduce = lambda loss: loss()
    ) -> None:
        self.objective, self.parameters, self.size, self.reduce = objective, parameters, size, reduce

    def __call__(self, batch: Batch, key: Key) -> Losses:
        """Add the gradient of the whole batch's loss to every parameter's `grad`, and return the losses, detached."""
        pieces = batch.pieces(self.size)
        keys = [(*key, distributed.rank(), number) for number in range(len(pieces) + 1)]
        if isinstance(self.objective, Recognition):
            return accumulate_gradients(self.objective, batch, pieces, keys, self.reduce)
        return cache_gradients(self.objective, batch, pieces, keys, self.reduce)


def accumulate_gradients(
    objective: Recognition, batch: Batch, pieces: list[slice], keys: list[Key], reduce: Reduce
) -> Losses:
    """Add the gradients of a loss that is a sum over pieces to the parameters, and return the losses, detached.

    `keys` holds one random key for each piece and, at the end, one for the text encoder.
    """
    seed_from(*keys[-1])
    text = objective.text()
    leaves = map_tensors(detached_leaf, text)
    losses: list[Losses] = []
    for piece, key in zip(pieces[:-1], keys, strict=False):
        seed_from(*key)
        losses.append(objective.losses(batch, piece, leaves))
        total(losses[-1]).backward()

    def last_piece() -> Tensor:
        seed_from(*keys[-2])
        losses.append(objective.losses(batch, pieces[-1], text))
        return total(losses[-1]) + surrogate_loss(text, map_tensors(lambda tensor: tensor.grad, leaves))

    reduce(last_piece).backward()
    return {name: torch.stack([part[name].detach() for part in losses]).sum() for name in losses[0]}


def cache_gradients(objective: Retrieval, batch: Batch, pieces: list[slice], keys: list[Key], reduce: Reduce) -> Losses:
    """Accumulate the parameter gradients of a loss over the whole batch; return the detached losses.

    The model runs twice over each piece (GradCache). `keys` holds one random key for each piece.
    """

    def encode(number: int) -> Any:
        seed_from(*keys[number])
        return objective.encode(batch, pieces[number])

    with torch.no_grad():
        features = concatenate([encode(number) for number in range(len(pieces))])
    leaves = map_tensors(detached_leaf, features)
    losses = objective.contrast(leaves, batch)
    total(losses).backward()
    gradients = [slice_rows(map_tensors(lambda tensor: tensor.grad, leaves), piece) for piece in pieces]
    for number in range(len(pieces) - 1):
        surrogate_loss(encode(number), gradients[number]).backward()
    reduce(lambda: surrogate_loss(encode(len(pieces) - 1), gradients[-1])).backward()
    return {name: loss.detach() for name, loss in losses.items()}


def seed_from(*key: int) -> None:
    """Seed torch's random number generator from a sequence of integers."""
    torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]))


def largest_piece(
    objective: Objective, parameters: list[nn.Parameter], batch: Batch, spare_bytes: int = 0
) -> int | None:
    """Return the largest number of clips per forward pass that fits into the memory of every process.

    Returns None if the whole batch fits. The number is halved until a trial step succeeds. `spare_bytes` are kept free
    for the state of the optimizer. Raises ValueError if a single clip does not fit.
    """
    size = len(batch.indices)
    reason = None
    while failure := _try_out(PiecewiseStep(objective, parameters, size), batch, spare_bytes):
        if size == 1:
            raise ValueError(
                f"not even one clip fits into memory ({failure}); set training.gradient_checkpointing: true, or take fewer "
                "frames"
            )
        reason, size = failure, -(-size // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    everything = 2**31 - 1
    smallest = -distributed.maximum(-(size if reason else everything))
    if smallest == everything:
        return None
    shared = f" for {distributed.world_size()} processes" if distributed.world_size() > 1 else ""
    log.warning(
        "a batch of %d clips%s does not fit into memory (%s): it goes through in %d pieces of %d, with the same gradient",
        *(len(batch.text_N), shared, reason or "another process's", -(-max(batch.sizes) // smallest), smallest),
    )
    return smallest


def _try_out(step: PiecewiseStep, batch: Batch, spare_bytes: int) -> str | None:
    """Return the reason why a trial step does not fit into memory with `spare_bytes` left over, or None if it fits."""
    on_gpu = step.parameters[0].device.type == "cuda"
    try:
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        step(batch.alone(), (0,))
        if on_gpu and torch.cuda.max_memory_allocated() + spare_bytes > 0.95 * torch.cuda.mem_get_info()[1]:
            return "nothing would be left for the optimizer"
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return first_sentences(error)
    finally:
        for parameter in step.parameters:
            parameter.grad = None
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that the memory of the GPU or of the machine is full.

    torch raises OutOfMemoryError for a GPU, but a plain RuntimeError if its CPU allocator fails.
    """
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def first_sentences(error: BaseException) -> str:
    """Return the first two sentences of an out-of-memory error."""
    return ". ".join(str(error).split(". ")[:2]).strip() or type(error).__name__
