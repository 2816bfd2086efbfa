"""Map a function over items in worker processes. If a process hangs or crashes, its item gets a reason, not a result.

concurrent.futures cannot do this: a worker that dies breaks the whole pool, and a worker that hangs cannot be stopped.
Here each thread of a pool supervises one process.
"""

import importlib
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

# Workers are forks of a server that has only imported the heavy packages: they start fast, and unlike forks of this
# process they cannot inherit a lock that one of our threads holds.
SERVER = multiprocessing.get_context("forkserver")
START_LIMIT_S = 300.0  # the first worker waits for the server's imports, possibly from a slow shared disk


@dataclass(frozen=True)
class NoResult:
    """The reason why an item has no result."""

    reason: str


class TimedOut(NoResult):
    """The item exceeded its time limit."""


def map_with_timeout(
    function: Callable[[Any], Any], items: Sequence[Any], limit_s: float, num_workers: int, preload: Sequence[str] = ()
) -> Iterator[Any | NoResult]:
    """Yield `function(item)` in the order of the items.

    The result is a NoResult if the item takes more than `limit_s` seconds, if its process dies, or if the function
    raises. An item that took too long is tried once more, alone, when the others are done. This protects items whose
    process was paused by a scheduler or Ctrl-Z, or slowed by a busy machine. `function` and the items are pickled.
    `preload` names modules to import before the time limits begin. Raises RuntimeError if a worker process cannot
    start.
    """
    SERVER.set_forkserver_preload(list(preload))
    workers = [_Worker(function, preload) for _ in range(num_workers)]
    idle: SimpleQueue[_Worker] = SimpleQueue()
    for worker in workers:
        idle.put(worker)

    def run(item: Any) -> Any | NoResult:
        worker = idle.get()
        try:
            return worker.run(item, limit_s)
        finally:
            idle.put(worker)

    pool = ThreadPoolExecutor(num_workers)
    try:
        futures = deque(pool.submit(run, item) for item in items)
        for item in items:
            result = futures.popleft().result()
            if isinstance(result, TimedOut):
                wait(futures)
                result = run(item)
            yield NoResult(f"{result.reason}, tried twice") if isinstance(result, TimedOut) else result
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.stop()


class _Worker:
    """A worker process. It is started for its first item, and again after an item that crashed it or took too long."""

    def __init__(self, function: Callable[[Any], Any], preload: Sequence[str]) -> None:
        self.function, self.preload = function, preload
        self.process: Any = None
        self.connection: Connection

    def start(self) -> None:
        self.connection, worker_end = SERVER.Pipe()
        self.process = SERVER.Process(target=_serve, args=(worker_end, self.function, self.preload), daemon=True)
        self.process.start()
        worker_end.close()  # so that the pipe closes when the process ends
        try:
            ready = self.connection.poll(START_LIMIT_S) and self.connection.recv()
        except EOFError:
            ready = None
        if not ready:
            raise RuntimeError(f"a worker process could not start (exit code {self.stop()}); its error is above")

    def run(self, item: Any, limit_s: float) -> Any | NoResult:
        if self.process is None:
            self.start()
        try:
            self.connection.send(item)
            if self.connection.poll(limit_s):
                return self.connection.recv()
        except (EOFError, OSError):
            return NoResult(f"decoder crashed: its process ended with exit code {self.stop()}")
        self.stop()
        return TimedOut(f"timeout: not done after {limit_s:g} s")

    def stop(self) -> int | None:
        """End the process; kill it if it has not ended after a second.

        Return its exit code, or None if there was no process.
        """
        process, self.process = self.process, None
        if process is None:
            return None
        self.connection.close()  # an idle process then ends by itself
        process.join(1)
        process.kill()
        process.join()
        return process.exitcode


def _serve(connection: Connection, function: Callable[[Any], Any], preload: Sequence[str]) -> None:
    """Receive items and send their results until the parent closes the pipe."""
    for module in preload:  # already imported, unless the server was started for something else
        importlib.import_module(module)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends this process
    connection.send("ready")
    while True:
        try:
            item = connection.recv()
        except (EOFError, OSError):  # the parent is done or dead
            return
        try:
            result = function(item)
        except Exception as error:
            result = NoResult(f"{type(error).__name__}: {error}")
        connection.send(result)
