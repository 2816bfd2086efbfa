"""Communication between the processes of one command.

processes.py or torchrun starts the processes; torch.distributed connects them with NCCL between GPUs and gloo between
CPUs. With a single process every function returns what is right for one process, so callers need no special case.
"""

import ctypes
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice, zip_longest
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import torch
import torch.distributed as dist
from torch import Tensor

from kinetext.core.processes import LAUNCHER, STORE

T = TypeVar("T")
PR_SET_PDEATHSIG = 1  # prctl(2)


@contextmanager
def process_group() -> Iterator[None]:
    """Connect the processes of a command, and disconnect them at the end. All but the first process log errors only.

    Raises SystemExit if the launcher has ended, because it could no longer end this process.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    if sys.platform == "linux":  # a launcher that is killed cannot end its processes
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.environ.get(LAUNCHER, str(os.getppid())) != str(os.getppid()):  # killed before the line above
        raise SystemExit(128 + signal.SIGKILL)
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    process, processes = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    where = os.environ.get(STORE)
    if where is None:  # torchrun's variables say where
        dist.init_process_group(backend)
    elif where.startswith("file:"):
        store = dist.FileStore(unquote(urlsplit(where).path), processes)  # torch takes the path without unquoting it
        dist.init_process_group(backend, store=store, rank=process, world_size=processes)
    else:
        dist.init_process_group(backend, store=_meet(where, process, processes), rank=process, world_size=processes)
    if rank() > 0:
        logging.getLogger("kinetext").setLevel(logging.ERROR)
    try:
        yield
    finally:
        dist.destroy_process_group()


def _meet(address: str, rank: int, world_size: int) -> dist.TCPStore:
    """Return the store at `address` (tcp://host:port), through which the processes find each other.

    The first process serves the store, and listens only on the address that `host` resolves to.
    """
    host, port = urlsplit(address).hostname or "", urlsplit(address).port or 0
    if rank > 0:
        return dist.TCPStore(host, port, world_size, is_master=False)
    family, kind, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(where)
        listening.listen()
        return dist.TCPStore(
            host, port, world_size, is_master=True, wait_for_workers=False, master_listen_fd=listening.detach()
        )


def device() -> torch.device:
    """Return the device of this process: the GPU of its local rank, or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ["LOCAL_RANK"]) if world_size() > 1 else 0)


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process among all processes, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def local_world_size() -> int:
    """Return the number of processes on this machine, which share its memory and cores."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if world_size() > 1 else 1


def hide_progress() -> bool | None:
    """Return the `disable` argument of tqdm: None (shown on a terminal) in the first process, True in others."""
    return True if rank() else None


def split_sizes(count: int) -> tuple[int, ...]:
    """Return how many of `count` consecutive items each process takes, one number per process.

    The numbers differ by at most 1 and are those of torch.tensor_split.
    """
    size, larger = divmod(count, world_size())
    return tuple(size + (process < larger) for process in range(world_size()))


def local_items(items: Iterable[T]) -> Iterator[T]:
    """Yield the items of this process: the item with index `rank()`, then every `world_size()`-th."""
    return islice(items, rank(), None, world_size())


def gather(items: Sequence[T]) -> list[T]:
    """Return the items of all processes, in every process, in the order that they had before `local_items`."""
    if world_size() == 1:
        return list(items)
    by_rank: list[Sequence[T]] = [[] for _ in range(world_size())]
    dist.all_gather_object(by_rank, items)
    missing: Any = object()
    return [item for row in zip_longest(*by_rank, fillvalue=missing) for item in row if item is not missing]


def mean(values: Tensor) -> Tensor:
    """Return the mean of a tensor over all processes. The tensor is changed in place and must not require gradients."""
    if world_size() > 1:
        dist.all_reduce(values)
        values /= world_size()
    return values


def maximum(value: int) -> int:
    """Return the maximum of a number over all processes; wait for all of them."""
    tensor = torch.tensor(value)
    if world_size() > 1:
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
    return int(tensor)


class DelayedMax:
    """Maximum over processes of a number that each process sends at every step, without waiting for slower processes.

    Every process receives the maximum of a step at the next step. With a single process the value is returned at once.
    """

    def __init__(self) -> None:
        self._pending: tuple[Any, Tensor] | None = None

    def exchange(self, value: int) -> int:
        """Send the value of this step; return the maximum of the previous step (0 at the first step).

        With a single process, return `value`.
        """
        if world_size() == 1:
            return value
        previous = self._receive()
        tensor = torch.tensor(value)
        self._pending = dist.all_reduce(tensor, dist.ReduceOp.MAX, async_op=True), tensor
        return previous

    def finish(self, value: int) -> int:
        """Wait for all processes; return the maximum over the values of this step and of the previous step."""
        return max(self._receive(), maximum(value))

    def _receive(self) -> int:
        if self._pending is None:
            return 0
        work, tensor = self._pending
        self._pending = None
        work.wait()
        return int(tensor)
