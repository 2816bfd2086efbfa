"""Run the work of a command in a detached child process, so that paid answers survive a kill of the command.

A process that is killed (SIGKILL) while a language model answers loses an answer that the server charges for, and the
next run requests it again. The work therefore runs in a child process in a separate session. The command only waits,
and signals the child to stop. Once the command has ended or is asked to stop, the child sends nothing more, not even
a retry. It stores the answers to open requests and exits without writing an output. A command that is started in the
meantime waits for these answers, because each request has a lock (texts/cache.py).

The child lives as long as a request may take, at most `MAX_LINGER_S` seconds. Open answers are lost only if the child
is killed too: by a power cut, the end of a container, a scheduler that kills the whole job, or a second Ctrl-C.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Any

MAX_LINGER_S = 3600.0  # a server that sends a byte now and then could keep a request open forever

# lists, because a signal handler could deadlock on the lock of an Event
_stop_signals: list[int] = []
_open_requests: list[int] = []


def run_detached() -> None:
    """Continue in a child process. The calling process waits here and exits with the status of the child.

    Call this before any thread starts (except that of Arrow's allocator, which supports forks).
    """
    read_end, write_end = os.pipe()  # the write end closes when this process ends, however it ends
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        os.close(read_end)
        sys.exit(_wait_for(child, write_end))
    os.close(write_end)
    os.setsid()  # Ctrl-C in the terminal reaches the waiting process only
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: _stop_signals.append(number))
    Thread(target=_listen, args=(read_end,), daemon=True).start()


def raise_if_stopping() -> None:
    """Raise SystemExit, with a message, once the process should stop. Call it before anything is sent or written."""
    if _stop_signals:
        raise SystemExit("kinetext: stopped; paid answers were stored; run the same command again to resume")


@contextmanager
def paid_request() -> Iterator[None]:
    """Count a paid request while it is open; the message that is printed at a stop states the count.

    Raises SystemExit like `raise_if_stopping`.
    """
    raise_if_stopping()
    _open_requests.append(1)
    try:
        yield
    finally:
        _open_requests.pop()


def sleep(seconds: float) -> None:
    """Sleep for `seconds`, for instance before a request is sent again.

    Raises SystemExit like `raise_if_stopping`, at most 0.1 s after the process should stop.
    """
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        raise_if_stopping()
        time.sleep(min(left, 0.1))
    raise_if_stopping()


def _wait_for(child: int, write_end: int) -> int:
    """Wait until the child has ended, pass signals on to it, and return the exit status for this process."""
    received: list[int] = []

    def forward(number: int, _: Any) -> None:
        received.append(number)
        with suppress(OSError):  # the child has just ended
            if received.count(signal.SIGINT) > 1:  # schedulers repeat SIGTERM; only a person repeats Ctrl-C
                os.kill(child, signal.SIGKILL)
            elif len(received) == 1:
                os.write(write_end, b"!")

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, forward)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status and received:
        return 128 + received[0]
    return status if status >= 0 else 128 - status


def _listen(read_end: int) -> None:
    """Ask this process to stop when the command sends a byte, or when the pipe closes because the command has ended.

    Exit after MAX_LINGER_S more seconds.
    """
    is_asked = bool(os.read(read_end, 1))
    _stop_signals.append(signal.SIGTERM)
    if is_asked:
        with suppress(OSError):  # the terminal may be gone too
            print(
                f"kinetext: waiting for {len(_open_requests)} paid answers before stopping; "
                "press Ctrl-C again to stop immediately",
                file=sys.stderr,
            )
    time.sleep(MAX_LINGER_S)
    os._exit(1)
