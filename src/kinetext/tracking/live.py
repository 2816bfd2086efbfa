"""Curves of a running training in MLflow. The training passes them to a thread, which sends them.

The training never waits for the server. It leaves its latest curves with the thread, where they replace curves that
were not sent yet. When the training ends, the thread gets CLOSE_S more seconds. Importing mlflow takes about 4 s of
processor time, during which the training's Python code waits for the interpreter. The thread therefore imports it only
once the training has run for IMPORT_AFTER_S, so that import and closing take less than 1 % of any training. Shorter
trainings have no live curves. The import also waits for the first curves: by then the workers of the data loader have
been forked, and cannot inherit a lock that the import holds.

The live run is a separate MLflow run (tag `kind`: live). `log-run` deletes it when it logs the finished run folder.
"""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from kinetext.config.report import TrackingOptions
from kinetext.data.splits import read_splits
from kinetext.tracking import send
from kinetext.tracking.content import NAMES, Point, experiment_name, is_number
from kinetext.tracking.store import Store, experiment_id, find_store, first_line, import_mlflow, open_client

logger = logging.getLogger(__name__)
IMPORT_AFTER_S = 600.0
SEND_EVERY_S = 10.0
MAX_PAUSE_S = 60.0  # between two attempts while the store fails
CLOSE_S = 1.0

Curves = Sequence[dict[str, Any]]  # rows of curves.parquet: epoch, metric, value


@contextmanager
def live_curves(
    run: Path, splits: Path, results: Path, options: TrackingOptions
) -> Iterator[Callable[[Curves], None] | None]:
    """Yield a function that accepts the curves of a training so far, or None if they are not to be sent.

    They are not sent if tracking or `tracking.live` is off, or if `tracking.live` is auto and the store is a SQLite
    file. The function returns at once and never raises. `run` is the path of run.yaml.
    """
    store = find_store(options, results)
    if not store.uri or options.live == "off" or (options.live == "auto" and store.local):
        yield None
        return
    sender = CurveSender(LiveRun(store, run, splits, results))
    sender.start()
    try:
        yield sender.put
        sender.finished = True
    finally:
        sender.close()


class CurveSender(threading.Thread):
    """A thread that sends the latest curves every SEND_EVERY_S seconds, and less often while the store fails."""

    def __init__(self, live: "LiveRun") -> None:
        super().__init__(name="live-curves", daemon=True)
        self.live, self.curves, self.finished = live, [], False  # type: tuple[LiveRun, list[dict[str, Any]], bool]
        self.began_s = time.monotonic()
        self.stopping, self.importing = threading.Event(), threading.Lock()

    def put(self, curves: Curves) -> None:
        """Queue the curves so far. They replace curves that were not sent yet."""
        self.curves = list(curves)

    def close(self) -> None:
        """Send the remaining curves and the status of the training, within CLOSE_S seconds."""
        self.stopping.set()
        with self.importing:  # the interpreter must not exit while a thread loads shared libraries
            pass
        self.join(CLOSE_S)

    def run(self) -> None:
        """Send curves until the training has ended.

        After a failure the curves are sent again later; only the first of several failures is logged.
        """
        pause_s, stopping = SEND_EVERY_S, False
        while not stopping:
            stopping = self.stopping.wait(pause_s)
            try:
                if self.curves and self._imported():
                    self.live.send(self.curves)
                    if stopping:
                        self.live.close("FINISHED" if self.finished else "KILLED")
                pause_s = SEND_EVERY_S
            except Exception as error:
                if pause_s == SEND_EVERY_S:
                    logger.info("%s: live curves failed (%s); trying again", self.live.store, first_line(error))
                pause_s = min(2 * pause_s, MAX_PAUSE_S)

    def _imported(self) -> bool:
        """Import mlflow once the training has run for IMPORT_AFTER_S; return whether it is imported."""
        with self.importing:
            if "mlflow" in sys.modules:
                return True
            if self.stopping.is_set() or time.monotonic() - self.began_s < IMPORT_AFTER_S:
                return False
            import_mlflow()
            return True


class LiveRun:
    """The MLflow run of a training in progress. It is created when the first points are sent.

    MLflow's system metrics monitor then records the load of the machine.
    """

    def __init__(self, store: Store, run: Path, splits: Path, results: Path) -> None:
        self.store, self.run, self.splits, self.results = store, run, splits, results.resolve()
        self.client: Any = None
        self.run_id: str | None = None
        self.sent: set[tuple[str, int]] = set()
        self.first_seen_ms: dict[tuple[str, int], int] = {}

    def send(self, curves: Curves) -> None:
        """Send the points that were not sent successfully before. Sending a point twice does no harm."""
        new = {(row["metric"], row["epoch"]): row["value"] for row in curves if is_number(row["value"])}
        new = {key: value for key, value in new.items() if key not in self.sent}
        for key in new:
            self.first_seen_ms.setdefault(key, round(1000 * time.time()))
        run_id = self.run_id or self._create()
        points = [Point(f"train/{m}", value, epoch, self.first_seen_ms[m, epoch]) for (m, epoch), value in new.items()]
        send.log_numbers(self.client, run_id, points)
        self.sent |= new.keys()

    def close(self, status: str) -> None:
        """Set the status of the run: FINISHED or KILLED. It stays RUNNING if the training was ended by SIGKILL."""
        if self.run_id is not None:
            self.client.set_terminated(self.run_id, status)

    def _create(self) -> str:
        """Create the run and return its id. Delete live runs of earlier trainings of the same run folder."""
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        self.client = self.client or open_client(self.store)
        spec = yaml.safe_load(self.run.read_text())
        captions = read_splits(self.splits)["train"].captioned
        experiment = experiment_id(self.client, experiment_name(spec["dataset"], captions), self.store)
        tags = {"kind": "live", "results": str(self.results)}
        for earlier in self.client.search_runs([experiment], f"tags.run = '{spec['run']}' and tags.kind = 'live'"):
            if earlier.data.tags.items() >= tags.items():
                self.client.delete_run(earlier.info.run_id)
        tags |= {key: str(spec[key]) for key in (*NAMES, "seed")}
        run_id = self.client.create_run(experiment, tags=tags, run_name=f"{spec['run']} (live)").info.run_id
        self.run_id = run_id
        SystemMetricsMonitor(run_id, tracking_uri=self.store.uri).start()  # stops by itself when the run has ended
        return run_id
