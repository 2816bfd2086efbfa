"""Live curves: whatever the server does, the training's results are the same and it does not wait."""

import socket
import subprocess
import sys
import time
from contextlib import closing

import pyarrow.parquet as pq
import pytest
import torch

from kinetext.config.report import TrackingOptions
from kinetext.core.tensors import load_tensors
from kinetext.tracking import live
from kinetext.training.train import train_method
from tracked import logged_runs

CURVES = [{"epoch": epoch, "metric": "train_loss", "value": 1 / epoch} for epoch in (1, 2, 3)]


@pytest.fixture(autouse=True)
def _live_from_the_start(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(live, "IMPORT_AFTER_S", 0.0)
    monkeypatch.setattr(live, "SEND_EVERY_S", 0.01)
    live.import_mlflow()  # the waits below are for the server alone


def train(world, folder, uri=None):
    """Return the trained parameters, the curves and the seconds that starting and closing the live run took."""
    run = world.write_run(folder, "mean_pool")
    inputs = world.inputs()
    options, began_s = TrackingOptions(enabled=uri is not None, uri=uri, live="on"), time.monotonic()
    with live.live_curves(run, inputs.splits, folder, options) as on_curves:
        started_s = time.monotonic() - began_s
        train_method(run, inputs, folder / "cache", folder / "checkpoint.safetensors", 1, on_curves)
        ended_s = time.monotonic()
    curves = pq.read_table(folder / "curves.parquet").to_pylist()
    waited_s = started_s + time.monotonic() - ended_s
    return load_tensors(folder / "checkpoint.safetensors")[0], curves, waited_s


@pytest.mark.parametrize("server", ["dead", "hanging"])
def test_training_does_not_depend_on_its_server(world, tmp_path, server):
    weights, curves, _ = train(world, tmp_path / "untracked")
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:  # accepts connections and never answers
        port = 9 if server == "dead" else listening.getsockname()[1]
        same, same_curves, waited_s = train(world, tmp_path / server, f"http://127.0.0.1:{port}")
    assert same_curves == curves
    assert same.keys() == weights.keys()
    assert all(torch.equal(same[key], weights[key]) for key in weights)
    assert waited_s < live.CLOSE_S + 5  # one request to that server takes 10 s and more


def test_handing_over_curves_never_waits_for_the_server(world, tmp_path):
    run = world.write_run(tmp_path / "run", "mean_pool")
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        options = TrackingOptions(uri=f"http://127.0.0.1:{listening.getsockname()[1]}", live="on")
        with live.live_curves(run, world.splits(), tmp_path, options) as on_curves:
            on_curves(CURVES)
            time.sleep(0.2)  # the thread is in its first request
            began_s = time.monotonic()
            for _ in range(1000):
                on_curves(CURVES)
            assert time.monotonic() - began_s < 1


@pytest.mark.parametrize("status", ["FINISHED", "KILLED"])
def test_live_run_shows_the_curves_and_how_the_training_ended(world, tmp_path, monkeypatch, status):
    """The live run of an earlier training of the same run folder is deleted."""
    monkeypatch.setattr(live, "CLOSE_S", 60.0)  # the database is created in the meantime
    run = world.write_run(tmp_path / "run", "mean_pool")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    for curves in (CURVES[:1], CURVES):
        try:
            with live.live_curves(run, world.splits(), tmp_path, TrackingOptions(uri=uri, live="on")) as on_curves:
                on_curves(curves)
                if status == "KILLED":
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            pass
    (logged,) = logged_runs(uri, "live")
    assert logged.info.status == status
    assert logged.data.metrics["train/train_loss"] == CURVES[-1]["value"]


def test_curves_of_a_file_store_are_not_sent_unless_asked_for(world, tmp_path):
    run = world.write_run(tmp_path / "run", "mean_pool")
    with live.live_curves(run, world.splits(), tmp_path, TrackingOptions()) as on_curves:
        assert on_curves is None


def test_short_training_does_not_import_mlflow():
    """A training of less than ten minutes would lose more than 1 % of its time to the import."""
    code = """
import sys, time; from pathlib import Path
from kinetext.config.report import TrackingOptions
from kinetext.tracking import live
live.SEND_EVERY_S = 0.01
options = TrackingOptions(uri="http://127.0.0.1:9")
with live.live_curves(Path("run.yaml"), Path("splits.parquet"), Path("."), options) as on_curves:
    on_curves([{"epoch": 1, "metric": "train_loss", "value": 1.0}])
    time.sleep(0.5)
assert "mlflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
