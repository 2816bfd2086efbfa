"""Render the report again while runs finish, in the background of Snakemake's process.

A thread counts the finished runs every few seconds. When there are more, it starts the report as a process of the
lowest priority. Only one such process runs at a time, and for at most the fraction SHARE of the time, so that it does
not slow down the jobs.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from kinetext.config.report import ReportOptions
from kinetext.config.run import RunSpec
from kinetext.core.files import atomic_write

PERIOD_S = 20.0  # between two looks
SHARE = 0.05  # of the time that may be spent on reports
STOP_S = 20.0  # after which a report that does not stop is killed


def write_plan(path: Path, options: ReportOptions, runs: Iterable[tuple[RunSpec, bool]]) -> None:
    """Write the plan of a study for `read_plan` in another process: the report's options, and (run, trains) pairs."""
    entries = [[run.model_dump(mode="json"), trains] for run, trains in runs]
    with atomic_write(path) as part:
        part.write_text(json.dumps({"report": options.model_dump(mode="json"), "runs": entries}))


class Refresher:
    """A thread that runs the command of the report again whenever more of the `files` exist."""

    def __init__(
        self,
        arguments: Sequence[str],
        files: Sequence[Path],
        log: Path,
        period_s: float = PERIOD_S,
        share: float = SHARE,
    ) -> None:
        self.command = ["nice", "-n", "19", sys.executable, "-m", "kinetext", *arguments]
        self.files, self.log, self.period_s, self.share = files, log, period_s, share
        self._reported = 0  # files that the last report knew
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="kinetext-report", daemon=True)

    def start(self) -> None:
        """Start watching for files that do not exist yet."""
        self._reported = self._count()
        self._thread.start()

    def stop(self) -> None:
        """Stop watching, and end a report that is being rendered."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(STOP_S)

    def _watch(self) -> None:
        pause_s = self.period_s
        while not self._stop.wait(pause_s):
            pause_s = self.period_s
            finished = self._count()
            if self._reported < finished < len(self.files):  # with all of them the workflow renders the report itself
                began_s = time.monotonic()
                self._run()
                self._reported, spent_s = finished, time.monotonic() - began_s
                pause_s = max(self.period_s, spent_s / self.share - spent_s)

    def _count(self) -> int:
        return sum(file.is_file() for file in self.files)

    def _run(self) -> None:
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("w") as log:
                process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        except OSError:  # a full disk, or no `nice`: the report at the end does not depend on this one
            return
        while process.poll() is None:
            if self._stop.wait(0.2):
                process.terminate()
                try:
                    process.wait(STOP_S / 2)
                except subprocess.TimeoutExpired:
                    process.kill()
