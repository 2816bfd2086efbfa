"""Work that a kill of its command does not cut off: answers that are paid for arrive after it, too.

A process that is killed (SIGKILL) while a language model answers would lose what the server charges for all the same, and ask
again when it is started again. So the command steps aside: its work goes on in a child, in a session of its own, and the
command itself only waits for it and passes signals on. Once the command is gone, or is told to stop, the child asks for
nothing more, keeps the answers that are on their way, and ends. A command that is started meanwhile waits for them, as
each request has a lock (text/cache.py).

What kills the child too loses what is on its way: the machine, a container, a scheduler that kills all of a job.
"""

import os
import signal
import sys
from threading import Event, Thread
from typing import Any

_stopping = Event()


def step_aside() -> None:
    """Go on in a child; the calling process waits for it here, and ends as it does. Call it before there are threads."""
    reading, writing = os.pipe()  # its other end closes when this process is gone, however it went
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        os.close(reading)
        sys.exit(_wait_for(child))
    os.close(writing)
    os.setsid()  # Ctrl-C in the terminal is for the process that waits
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: _stopping.set())
    Thread(target=_stop_at_end_of, args=(reading,), daemon=True).start()


def go_on() -> None:
    """To be called before anything is asked for. Raises SystemExit, with a sentence, once it is time to stop."""
    if _stopping.is_set():
        raise SystemExit(
            "kinetext: stopped; answers that were on their way are kept, and the same command goes on from there"
        )


def _wait_for(child: int) -> int:
    """The exit status of this process, once the child has ended."""
    told: list[int] = []

    def pass_on(number: int, _: Any) -> None:
        told.append(number)
        if len(told) == 1:
            print(
                "kinetext: stopping when the answers that are on their way, and paid for, have come; again: at once",
                file=sys.stderr,
            )
        os.kill(child, signal.SIGTERM if len(told) == 1 else signal.SIGKILL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, pass_on)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status and told:
        return 128 + told[0]
    return status if status >= 0 else 128 - status


def _stop_at_end_of(reading: int) -> None:
    os.read(reading, 1)  # nobody writes
    _stopping.set()
