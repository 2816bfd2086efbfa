"""A function over many items in worker processes that may hang or crash: such an item gives a reason, not a result.

concurrent.futures alone cannot do this: a worker that dies breaks its whole pool, and one that hangs cannot be stopped.
Here each thread of a pool minds one process of its own.
"""

import importlib
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

# Workers are forks of a server that has imported the heavy packages and done nothing else: they start at once, and unlike
# forks of ourselves they cannot inherit a lock from one of our threads.
SERVER = multiprocessing.get_context("forkserver")
START_LIMIT_S = 300.0  # to start a worker: the first one waits for the server's imports, from a slow shared disk too


@dataclass(frozen=True)
class Lost:
    """What stands where an item has no result."""

    reason: str


def watched(
    function: Callable[[Any], Any], items: Sequence[Any], limit_s: float, num_workers: int, preload: Sequence[str] = ()
) -> Iterator[Any | Lost]:
    """The results of `function(item)` in the order of the items; Lost where it took more than `limit_s` seconds, where
    its process died, or where it raised.

    `function` and the items are pickled. `preload` names modules to import before the clocks start. Raises RuntimeError if a worker process cannot start.
    """
    SERVER.set_forkserver_preload(list(preload))
    workers = [_Worker(function, preload) for _ in range(num_workers)]
    idle: SimpleQueue[_Worker] = SimpleQueue()
    for worker in workers:
        idle.put(worker)

    def run(item: Any) -> Any | Lost:
        worker = idle.get()
        try:
            return worker.run(item, limit_s)
        finally:
            idle.put(worker)

    pool = ThreadPoolExecutor(num_workers)
    try:
        yield from pool.map(run, items)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.stop()


class _Worker:
    """A process that is started when it is first needed, and anew after each item that it was lost with."""

    def __init__(self, function: Callable[[Any], Any], preload: Sequence[str]) -> None:
        self.function, self.preload = function, preload
        self.process: Any = None
        self.connection: Connection

    def start(self) -> None:
        self.connection, theirs = SERVER.Pipe()
        self.process = SERVER.Process(target=_serve, args=(theirs, self.function, self.preload), daemon=True)
        self.process.start()
        theirs.close()  # so that the pipe ends when the process does
        try:
            ready = self.connection.poll(START_LIMIT_S) and self.connection.recv()
        except EOFError:
            ready = None
        if not ready:
            raise RuntimeError(f"a worker process could not start (exit code {self.stop()}); its error is above")

    def run(self, item: Any, limit_s: float) -> Any | Lost:
        if self.process is None:
            self.start()
        try:
            self.connection.send(item)
            if self.connection.poll(limit_s):
                return self.connection.recv()
        except (EOFError, OSError):
            return Lost(f"decoder crashed: its process ended with exit code {self.stop()}")
        self.stop()
        return Lost(f"timeout: not done after {limit_s:g} s")

    def stop(self) -> int | None:
        """End the process; the exit code that it had or, if it still ran a second from now, that of being killed."""
        process, self.process = self.process, None
        if process is None:
            return None
        self.connection.close()  # a process that only waits ends by itself
        process.join(1)
        process.kill()
        process.join()
        return process.exitcode


def _serve(connection: Connection, function: Callable[[Any], Any], preload: Sequence[str]) -> None:
    for module in preload:  # there already, unless the server was started for something else
        importlib.import_module(module)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends us
    connection.send("ready")
    while True:
        try:
            item = connection.recv()
        except (EOFError, OSError):  # the parent is done with us, or dead
            return
        try:
            result = function(item)
        except Exception as error:
            result = Lost(f"{type(error).__name__}: {error}")
        connection.send(result)
