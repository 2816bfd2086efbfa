"""The curves of a training that is under way, best effort: a process beside it sends what the training wrote down.

The training calls `Points.write` once for every point of its curves, which puts them all into a small file on this
machine's own disk, and never hears of MLflow. `kinetext follow-run` reads that file and sends what is new, with processor
time that nobody else wants, and is gone some seconds after its training. Whether the server is slow, dead or full, no step
waits for it.

What it makes is a run of its own (tag `kind`: live), which `log-run` deletes when it logs the finished run folder.
"""

import json
import logging
import math
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kinetext.config.report import TrackingOptions
from kinetext.core.files import written_whole
from kinetext.data.splits import read_splits
from kinetext.tracking import send
from kinetext.tracking.content import NAMES, Point, experiment_name, is_number
from kinetext.tracking.store import Store, experiment_id, find_store, first_line, open_client

logger = logging.getLogger(__name__)
LOOK_EVERY_S = 2.0
MOST_PAUSE_S = 60.0  # between two tries of a store that fails
LAST_S = 10.0  # for which the last points are tried to be sent when the training is over

Curves = Sequence[dict[str, Any]]  # rows of curves.parquet: epoch, metric, value


@dataclass(frozen=True)
class Points:
    """The file through which a training tells its curves."""

    path: Path

    def write(self, curves: Curves) -> None:
        """Put the curves so far into the file, whole. Never raises: a full disk is no reason to stop a training."""
        try:
            with written_whole(self.path) as part:
                part.write_text(json.dumps(list(curves)))
        except OSError as error:
            logger.debug("%s: %s", self.path, error)

    def read(self) -> list[dict[str, Any]]:
        """The curves so far."""
        return json.loads(self.path.read_text()) if self.path.is_file() else []


@contextmanager
def followed(run: Path, splits: Path, results: Path, options: TrackingOptions) -> Iterator[Points | None]:
    """Have a training followed while the block runs, if `tracking.live` says so: where to tell its curves, or None."""
    store = find_store(options, results)
    if not store.uri or options.live == "off" or (options.live == "auto" and store.local):
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="kinetext-live-"))
    arguments = {"run": run, "splits": splits, "results": results, "folder": folder, "pid": os.getpid()}
    with (folder / "log.txt").open("w") as said:
        try:
            subprocess.Popen(
                [sys.executable, "-m", "kinetext", "follow-run", *(f"--{k}={v}" for k, v in arguments.items())],
                env={**os.environ, "KINETEXT_TRACKING": options.model_dump_json()},  # a uri may hold a password
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                process_group=0,  # Ctrl-C is not for it; in a session of its own Linux would give it as much time as us
            )
        except OSError as error:
            logger.warning("live curves: %s; the training goes on without them", error)
            shutil.rmtree(folder, ignore_errors=True)
            yield None
            return
    yield Points(folder / "points.json")  # nobody waits: whoever follows sees that this process is gone


def follow_run(run: Path, splits: Path, results: Path, options: TrackingOptions, folder: Path, pid: int) -> None:
    """Send the curves of the training `pid` as they come; ends when it has ended. Deletes `folder`."""
    _step_back()
    points = Points(folder / "points.json")
    threading.Thread(target=_end_with, args=(pid, folder), daemon=True).start()
    sender = Sender(find_store(options, results), yaml.safe_load(run.read_text()), splits, results)
    pause_s = LOOK_EVERY_S
    while True:
        over = not is_running(pid)  # asked first: what it wrote last is read below
        try:
            curves = points.read()
            if curves:  # no point, no import of mlflow
                sender.send(curves)
            if over:
                sender.close((run.parent / "checkpoint.safetensors").is_file())
            pause_s = LOOK_EVERY_S
        except Exception as error:  # the store is not our business: another try, later
            logger.info("%s: %s", sender.store, first_line(error))
            pause_s = min(2 * pause_s, MOST_PAUSE_S)
        if over:
            break
        _wait(pid, pause_s)
    shutil.rmtree(folder, ignore_errors=True)


class Sender:
    """The live run in MLflow; made with the first point."""

    def __init__(self, store: Store, spec: dict[str, Any], splits: Path, results: Path) -> None:
        self.store, self.spec, self.splits, self.results = store, spec, splits, results.resolve()
        self.client: Any = None
        self.run_id: str | None = None
        self.sent: set[tuple[str, int]] = set()
        self.seen_ms: dict[tuple[str, int], int] = {}

    def send(self, curves: Curves) -> None:
        """Send what was not sent yet. A call that failed may have arrived all the same: sent again it is the same point."""
        if self.run_id is None:
            self._open()
        new = {(row["metric"], row["epoch"]): row["value"] for row in curves if is_number(row["value"])}
        new = {key: value for key, value in new.items() if key not in self.sent}
        for key in new:
            self.seen_ms.setdefault(key, round(1000 * time.time()))
        points = [Point(f"train/{m}", value, epoch, self.seen_ms[m, epoch]) for (m, epoch), value in new.items()]
        send.log_numbers(self.client, str(self.run_id), points)
        self.sent |= new.keys()

    def _open(self) -> None:
        self.client = self.client or open_client(self.store)
        captions = read_splits(self.splits)["train"].captioned
        place = experiment_id(self.client, experiment_name(self.spec["dataset"], captions), self.store)
        mine = {"kind": "live", "results": str(self.results)}
        for earlier in self.client.search_runs([place], f"tags.run = '{self.spec['run']}' and tags.kind = 'live'"):
            if earlier.data.tags.items() >= mine.items():
                self.client.delete_run(earlier.info.run_id)  # of the training that was killed before
        tags = {key: str(self.spec[key]) for key in (*NAMES, "seed")} | mine
        self.run_id = self.client.create_run(place, tags=tags, run_name=f"{self.spec['run']} (live)").info.run_id

    def close(self, whole: bool) -> None:
        """Say how the training ended; log-run deletes the run of one that ended well."""
        if self.run_id is not None:
            self.client.set_terminated(self.run_id, "FINISHED" if whole else "KILLED")


def _step_back() -> None:
    """Take only what processor time nobody else wants: beside a training on all cores, a third of a percent of one."""
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except (OSError, AttributeError):  # not Linux, or not allowed
        os.nice(19)


def _end_with(pid: int, folder: Path) -> None:
    """End this process, whatever it waits for, soon after the training has ended."""
    _wait(pid, math.inf)
    time.sleep(LAST_S)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def _wait(pid: int, seconds: float) -> None:
    """Until the training has ended, or so many seconds."""
    until_s = time.monotonic() + seconds
    while is_running(pid) and time.monotonic() < until_s:
        time.sleep(min(1.0, seconds))


def is_running(pid: int) -> bool:
    """Whether there is a process of this number that has not ended."""
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
