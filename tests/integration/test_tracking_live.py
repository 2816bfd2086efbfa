"""Curves while a training runs: whatever the server does, the training's results are the same and it does not wait."""

import socket
import time
from contextlib import closing

import pyarrow.parquet as pq
import pytest
import torch

from kinetext.config.report import TrackingOptions
from kinetext.core.tensors import load_tensors
from kinetext.tracking.live import followed
from kinetext.training.train import train_method


def train(world, folder, uri=None):
    """The trained parameters and the curves; how long it took to begin and to end being followed, in seconds."""
    run = world.write_run(folder, "mean_pool")
    inputs = world.inputs()
    options, began_s = TrackingOptions(enabled=uri is not None, uri=uri, live="on"), time.monotonic()
    with followed(run, inputs.splits, folder, options) as points:
        started_s = time.monotonic() - began_s
        train_method(
            run, inputs, folder / "cache", folder / "checkpoint.safetensors", 1, points.write if points else None
        )
        ended_s = time.monotonic()
    curves = pq.read_table(folder / "curves.parquet").to_pylist()
    return load_tensors(folder / "checkpoint.safetensors")[0], curves, started_s + time.monotonic() - ended_s, points


@pytest.mark.parametrize("server", ["dead", "hanging"])
def test_a_training_does_not_know_how_its_server_is(world, tmp_path, monkeypatch, server):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    weights, curves, _, nothing = train(world, tmp_path / "alone")
    assert nothing is None
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:  # takes connections and never answers
        port = 9 if server == "dead" else listening.getsockname()[1]
        same, same_curves, waited_s, points = train(world, tmp_path / server, f"http://127.0.0.1:{port}")
        assert points.read() == curves  # told
    assert same_curves == curves
    assert same.keys() == weights.keys()
    assert all(torch.equal(same[key], weights[key]) for key in weights)
    assert waited_s < 5  # a call to that server takes 10 and more
