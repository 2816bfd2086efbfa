"""What live curves cost a step of training, whatever the state of MLflow's server.

    python benchmarks/live.py                                            # on a GPU: ViT-B-16, 64 clips a step
    python benchmarks/live.py --model ViT-B-32 --batch 4 --clips 16      # where there is none

For each state of the server a training's steps are timed in turns of `turn-s` seconds: with new curves handed to the
thread after every step (a training does so once per epoch), and with none. mlflow is imported before the first turn: a
training imports it once, after ten minutes. MLflow's monitor of the machine runs in both turns. Printed are the median,
over pairs of turns, of how much longer a step took, with its 95 % bootstrap interval, and the processor time of the
thread as a share of the seconds in which curves were handed over. The second bounds the first where each core is free
for the training, and says something on a machine whose turns differ by more than a percent.

The server `answering` is MLflow's own on a file of this machine, run at idle priority: a cluster's is on another machine.
"""

import argparse
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import yaml
from scipy.stats import bootstrap

from kinetext.backbones.text_table import tabulate_texts
from kinetext.config.report import TrackingOptions
from kinetext.config.training import TrainingOptions
from kinetext.core.tables import write_table
from kinetext.data.splits import Split
from kinetext.tracking import live
from kinetext.training.batches import Batches
from kinetext.training.objectives import Recognition
from kinetext.training.profile import Stepper
from kinetext.training.setup import Prepared, choose_kernels, choose_trained
from train_throughput import CLASSES, build, make_store, text_rows


class Full(BaseHTTPRequestHandler):
    """A server whose disk is full."""

    def answer(self) -> None:
        """Refuse, whatever it is."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_error(507)

    do_GET = do_POST = answer

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return server.getsockname()[1]


@contextmanager
def server(state: str, folder: Path) -> Iterator[str]:
    """Run a server in this state; yield its address."""
    if state == "dead":
        yield f"http://127.0.0.1:{free_port()}"
    elif state == "hanging":  # takes connections and never answers
        with closing(socket.create_server(("127.0.0.1", 0))) as listening:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    elif state == "full":
        with ThreadingHTTPServer(("127.0.0.1", 0), Full) as serving:
            threading.Thread(target=serving.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{serving.server_port}"
            serving.shutdown()
    else:
        port, storage = free_port(), ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--workers", "1"]
        program = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), *storage]
        process = subprocess.Popen(
            program, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            preexec_fn=lambda: os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0)),
        )  # fmt: skip
        try:
            while True:
                with closing(socket.socket()) as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.5)
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def make_steps(options: argparse.Namespace, folder: Path, device: torch.device) -> Iterator[None]:
    """One step of training each time that it is asked."""
    store = make_store(folder / "frames.arrow", options.clips, 8, 224)
    rows = [{"clip_id": f"{i}", "label": f"{i % CLASSES}"} for i in range(options.clips)]
    split = Split(rows, [f"{k}" for k in range(CLASSES)])
    precision = "bfloat16" if device.type == "cuda" else "float32"
    training = TrainingOptions(batch_size=options.batch, precision=precision)
    method = build("mean_pool", options.model, device)
    choose_trained(method, training)
    choose_kernels(method, training, device)
    table = tabulate_texts(text_rows(), split.labels, method.backbone).to(device)
    task = Recognition(method, table, torch.eye(CLASSES, dtype=torch.bool, device=device), training)
    batches = Batches(method, store, split, training, 0, device, workers=options.workers)
    spec: Any = SimpleNamespace(training=training)
    stepper = Stepper(Prepared(spec, store, method, task, batches, batches, 0.0))
    epoch = 0
    while True:
        for batch in batches.epoch(epoch):
            stepper.run(batch)
            if device.type == "cuda":
                torch.cuda.synchronize()
            yield
        epoch += 1


def turn(
    steps: Iterator[None], seconds: float, on_curves: Callable[[live.Curves], None] | None, curves: list[dict[str, Any]]
) -> float:
    """Return the seconds per step over a turn; with `on_curves` the curves grow by a row per step and are handed over."""
    done, began_s = 0, time.perf_counter()
    while (took_s := time.perf_counter() - began_s) < seconds:
        next(steps)
        done += 1
        if on_curves:
            curves.append({"epoch": len(curves) + 1, "metric": "train_loss", "value": 1.0})
            on_curves(curves[-200:])  # as many as a long training has epochs
    return took_s / done


def thread_s(name: str) -> float:
    """Return the processor time of the thread of this name, in seconds."""
    thread = next(thread for thread in threading.enumerate() if thread.name == name)
    return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))


def compare(
    steps: Iterator[None], options: argparse.Namespace, run: Path, splits: Path, uri: str
) -> tuple[list[float], float]:
    """Return how much longer a step took, as a share, in each pair of turns, and the thread's share of a core."""
    curves: list[dict[str, Any]] = []
    longer, busy_s = [], 0.0
    with live.live_curves(run, splits, run.parent, TrackingOptions(uri=uri, live="on")) as on_curves:
        turn(steps, 3 * live.SEND_EVERY_S, on_curves, curves)  # the live run is created
        for pair in range(options.pairs):
            took_s = {}
            for sending in (True, False) if pair % 2 else (False, True):
                began_s = thread_s("live-curves")
                took_s[sending] = turn(steps, options.turn_s, on_curves if sending else None, curves)
                busy_s += thread_s("live-curves") - began_s
            longer.append(took_s[True] / took_s[False] - 1)
    return longer, busy_s / (options.pairs * options.turn_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ViT-B-16")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--clips", type=int, default=16384)  # an epoch's first batch is waited for: as few as can be
    parser.add_argument("--workers", type=int, default=max(0, (os.cpu_count() or 1) - 2))
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--turn-s", type=float, default=6.0)
    parser.add_argument("--states", nargs="+", default=["answering", "dead", "hanging", "full"])
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(os.cpu_count() or 1)
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"mean_pool on {options.model}, {options.batch} clips a step, {where}", flush=True)
    with tempfile.TemporaryDirectory(prefix="live-") as name:
        folder = Path(name)
        run, splits = folder / "run.yaml", folder / "splits.parquet"
        names = {
            "dataset": "noise",
            "protocol": "supervised",
            "method": "mean_pool",
            "texts": "names",
            "backbone": "tiny",
        }
        run.write_text(yaml.safe_dump(names | {"seed": 0, "run": "noise/supervised/tiny/mean_pool/names/seed0"}))
        rows = [{"clip_id": "0", "split": "train", "label": "0"}]
        write_table("splits", rows, splits, {"labels": {"train": ["0"]}, "captioned": False})
        live.import_mlflow()
        live.SEND_EVERY_S = 2.0  # five times as often as a training
        steps = make_steps(options, folder, device)
        for _ in range(5):
            next(steps)
        for state in options.states:
            with server(state, folder) as uri:
                longer, share = compare(steps, options, run, splits, uri)
            low, high = bootstrap((np.array(longer),), np.median, rng=0).confidence_interval
            print(
                f"{state:10} a step takes {100 * statistics.median(longer):+.2f} % longer"
                f" [{100 * low:+.2f}, {100 * high:+.2f}]; the thread takes {100 * share:.2f} % of a core",
                flush=True,
            )


if __name__ == "__main__":
    main()
