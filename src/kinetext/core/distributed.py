"""Several processes as one: which of them this is, what each takes, what they say to each other.

torchrun starts them (launch.py), torch.distributed joins them: NCCL between GPUs, gloo on CPUs and for what the processes
themselves have to say. In one process every function says what is true of one, so nobody else has to ask how many there
are, and `training` and `evaluation` cut batches and clips in the same way for any number.
"""

import ctypes
import logging
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice, zip_longest
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")
PR_SET_PDEATHSIG = 1  # prctl(2)


@contextmanager
def joined() -> Iterator[None]:
    """Join the others that torchrun has started, if it has; leave them at the end. All but the first are quiet."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    if sys.platform == "linux":  # a launcher that is killed cannot end its processes: they would go on without it
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    if rank() > 0:
        logging.getLogger("kinetext").setLevel(logging.ERROR)
    try:
        yield
    finally:
        dist.destroy_process_group()


def device() -> torch.device:
    """The device of this process: the GPU of its number on this machine, or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ["LOCAL_RANK"]) if size() > 1 else 0)


def size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if size() > 1 else 0


def on_this_machine() -> int:
    """How many of them share this machine's memory and cores."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if size() > 1 else 1


def quiet() -> bool | None:
    """What tqdm takes as `disable`: only the first process has a bar, and only on a terminal."""
    return True if rank() else None


def shares(count: int) -> tuple[int, ...]:
    """How many of `count` things each process takes, one after the other: as equal as can be (torch.tensor_split)."""
    least, more = divmod(count, size())
    return tuple(least + (number < more) for number in range(size()))


def dealt(things: Iterable[T]) -> Iterator[T]:
    """Those of all things that are dealt to this process, in turn."""
    return islice(things, rank(), None, size())


def collected(mine: Sequence[T]) -> list[T]:
    """The things of all processes, in the order in which they were dealt, on each of them."""
    if size() == 1:
        return list(mine)
    hands: list[Sequence[T]] = [[] for _ in range(size())]
    dist.all_gather_object(hands, mine)
    nothing: Any = object()
    return [thing for turn in zip_longest(*hands, fillvalue=nothing) for thing in turn if thing is not nothing]


def mean(values: Tensor) -> Tensor:
    """The mean over processes of a tensor of plain numbers."""
    if size() > 1:
        dist.all_reduce(values)
        values /= size()
    return values


def largest(value: int) -> int:
    """The largest of the processes' values, waited for."""
    box = torch.tensor(value)
    if size() > 1:
        dist.all_reduce(box, dist.ReduceOp.MAX)
    return int(box)


class Vote:
    """The largest of the processes' answers to a question that is asked at every step, without waiting for each other: an
    answer comes at the next step, to all at the same one. Alone, a process hears itself at once.
    """

    def __init__(self) -> None:
        self._asked: tuple[Any, Tensor] | None = None

    def ask(self, own: int) -> int:
        """Ask at this step; the answer is to the step before."""
        if size() == 1:
            return own
        answer = self._answer()
        box = torch.tensor(own)
        self._asked = dist.all_reduce(box, dist.ReduceOp.MAX, async_op=True), box
        return answer

    def settle(self, own: int) -> int:
        """The answer to this question and the one before, waited for."""
        return max(self._answer(), largest(own))

    def _answer(self) -> int:
        if self._asked is None:
            return 0
        work, box = self._asked
        self._asked = None
        work.wait()
        return int(box)
