"""Work that a kill of its command does not cut off: answers that are paid for arrive after it, too.

A process that is killed (SIGKILL) while a language model answers would lose what the server charges for all the same, and ask
again when it is started again. So the command steps aside: its work goes on in a child, in a session of its own, and the
command itself only waits for it and tells it when to stop. Once the command is gone, or is told to stop, the child sends
nothing more, not even a second try, keeps the answers that are on their way, and ends without an output. A command that is
started meanwhile waits for them, as each request has a lock (texts/cache.py).

The child lives on for as long as a request may take, and never for more than LATEST_S. What kills it too loses what is on its
way: the machine, a container, a scheduler that kills all of a job, the second Ctrl-C.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Any

LATEST_S = 3600.0  # a server that sends a blank now and then could keep a request open for ever

# lists, for a signal's handler could wait for an Event's lock for ever
_told: list[int] = []
_on_their_way: list[int] = []


def step_aside() -> None:
    """Go on in a child; the calling process waits for it here, and ends as it does. Call it before there are threads (that of
    Arrow's allocator knows about forks).
    """
    reading, writing = os.pipe()  # its other end closes when this process is gone, however it went
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        os.close(reading)
        sys.exit(_wait_for(child, writing))
    os.close(writing)
    os.setsid()  # Ctrl-C in the terminal is for the process that waits
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: _told.append(number))
    Thread(target=_listen, args=(reading,), daemon=True).start()


def go_on() -> None:
    """To be called before anything is sent or written. Raises SystemExit, with a sentence, once it is time to stop."""
    if _told:
        raise SystemExit(
            "kinetext: stopped; answers that were on their way are kept, and the same command goes on from there"
        )


@contextmanager
def on_its_way() -> Iterator[None]:
    """Around a request whose answer is paid for: how many there are is said when it is time to stop. Raises as `go_on`."""
    go_on()
    _on_their_way.append(1)
    try:
        yield
    finally:
        _on_their_way.pop()


def pause(seconds: float) -> None:
    """Sleep before something is sent. Raises as `go_on`, soon after it is time to stop."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        go_on()
        time.sleep(min(left, 0.1))
    go_on()


def _wait_for(child: int, writing: int) -> int:
    """The exit status of this process, once the child has ended."""
    told: list[int] = []

    def pass_on(number: int, _: Any) -> None:
        told.append(number)
        with suppress(OSError):  # it has just ended
            if told.count(signal.SIGINT) > 1:  # schedulers repeat SIGTERM; Ctrl-C is a person's
                os.kill(child, signal.SIGKILL)
            elif len(told) == 1:
                os.write(writing, b"!")

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, pass_on)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status and told:
        return 128 + told[0]
    return status if status >= 0 else 128 - status


def _listen(reading: int) -> None:
    """Wait until the command says that it is time to stop, or until nothing more can come, as the command is gone."""
    said = os.read(reading, 1)
    _told.append(signal.SIGTERM)
    if said:
        with suppress(OSError):  # the terminal may be gone, too
            print(
                f"kinetext: stopping when answers that are paid for have come ({len(_on_their_way)} on their way); "
                "Ctrl-C again: at once",
                file=sys.stderr,
            )
    time.sleep(LATEST_S)
    os._exit(1)
