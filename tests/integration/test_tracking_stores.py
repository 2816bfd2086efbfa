"""Real stores of a cluster: many writers, first use by several processes at once, a PostgreSQL that restarts.

The processes call `log_run`, as the workflow does.
"""

import json
import os
import subprocess
import sys
import time

import pandas as pd
import pytest

from kinetext.config.report import TrackingOptions
from kinetext.tracking.log import log_run
from kinetext.tracking.store import find_store
from repository import HELPERS
from stores import mlflow_server, needs_postgres, postgres
from tracked import client_of, logged_runs, long_curves, make_run

WRITERS = HELPERS / "writers.py"


@pytest.fixture(scope="session")
def server():
    """Yield a running PostgreSQL."""
    with postgres() as running:
        yield running


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs_postgres)])
def database(request, tmp_path):
    """Return the uri of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/mlflow.db"
    name = f"db_{os.getpid()}_{time.monotonic_ns()}"
    return request.getfixturevalue("server").database(name)


def start(results, uri, runs):
    """Start one process per run folder; all log at the same moment."""
    return subprocess.Popen(
        [sys.executable, WRITERS, results, *runs],
        env={
            **os.environ,
            "MLFLOW_TRACKING_URI": uri,
            "MLFLOW_HTTP_REQUEST_TIMEOUT": "120",
        },  # a slow machine is no outage
        stderr=subprocess.PIPE,
        text=True,
    )


def points(uri, results):
    """Return the number of curve points of each completely logged run, by its name."""
    uri = find_store(TrackingOptions(uri=uri), results).uri
    client = client_of(uri)
    return {
        run.info.run_name: sum(
            len(client.get_metric_history(run.info.run_id, key)) for key in run.data.metrics if key.startswith("train/")
        )
        for run in logged_runs(uri, "seed")
        if run.info.status == "FINISHED"
    }


def test_sixteen_processes_log_a_thousand_points_each_and_nothing_is_lost(database, tmp_path):
    """The database is empty at the start: this is also first use by sixteen processes at once."""
    runs = [make_run(tmp_path, 0, method=f"m{n}", curves=long_curves(1000)) for n in range(16)]
    writing = start(tmp_path, database, runs)
    messages = writing.communicate(timeout=300)[1]
    assert (writing.returncode, messages) == (0, "")  # no warning, no retry
    assert points(database, tmp_path) == {f"shapes/supervised/tiny/m{n}/names/seed0": 1000 for n in range(16)}
    assert len(logged_runs(find_store(TrackingOptions(uri=database), tmp_path).uri, "seed")) == 16


def test_first_use_by_eight_at_once_of_eight_experiments(database, tmp_path):
    runs = [make_run(tmp_path, seed, dataset=f"data{seed}") for seed in range(8)]
    writing = start(tmp_path, database, runs)
    assert (writing.communicate(timeout=300)[1], writing.returncode) == ("", 0)
    client = client_of(find_store(TrackingOptions(uri=database), tmp_path).uri)
    names = {e.name for e in client.search_experiments()}
    assert names == {"Default", *(f"recognition/data{seed}" for seed in range(8))}


@needs_postgres
def test_restart_of_postgresql_under_sixteen_writers_causes_a_retry(server, tmp_path):
    """Each run is complete afterwards and exists once; the log has a line about the retry."""
    import psycopg

    uri = server.database("restarted")
    runs = [make_run(tmp_path, 0, method=f"m{n}", curves=long_curves(4000)) for n in range(16)]
    client_of(uri.replace("postgresql:", "postgresql+psycopg:"))  # creates the schema, which takes a while
    writing = start(tmp_path, uri, runs)
    with psycopg.connect(uri, autocommit=True) as connection:
        while connection.execute("select count(*) from metrics").fetchone()[0] < 8_000:  # of 64 000
            assert writing.poll() is None, "the writers finished before the restart"
            time.sleep(0.01)
    server.restart()
    messages = writing.communicate(timeout=300)[1]
    assert writing.returncode == 0, messages
    assert "trying again" in messages
    assert "results are safe" not in messages  # no run was given up
    assert "Traceback" not in messages
    assert points(uri, tmp_path) == {f"shapes/supervised/tiny/m{n}/names/seed0": 4000 for n in range(16)}
    assert len(logged_runs(find_store(TrackingOptions(uri=uri), tmp_path).uri, "seed")) == 16  # no partial run


@needs_postgres
def test_server_over_postgresql(server, tmp_path, monkeypatch):
    """First use by eight processes at once, files through the server, and the same content once."""
    backend = server.database("served").replace("postgresql:", "postgresql+psycopg:")
    with mlflow_server(backend, tmp_path) as address:
        runs = [make_run(tmp_path, 0, method=f"m{n}", curves=long_curves(1000)) for n in range(8)]
        writing = start(tmp_path, address, runs)
        assert (writing.communicate(timeout=300)[1], writing.returncode) == ("", 0)
        assert set(points(address, tmp_path).values()) == {1000}
        first = {run.info.run_id for run in logged_runs(address, "seed")}
        assert len(first) == 8

        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        log_run(runs, tmp_path, TrackingOptions(models="none"), tmp_path / "logged.json")
        assert {run.info.run_id for run in logged_runs(address, "seed")} == first
        assert len(logged_runs(address, "mean")) == 8
        logged = json.loads((tmp_path / "logged.json").read_text())
        assert {entry["mlflow_run_id"] for entry in logged["runs"].values()} == first
        client = client_of(address)
        copy = client.download_artifacts(next(iter(first)), "metrics.parquet", str(tmp_path))
        assert pd.read_parquet(copy)["value"].tolist() == [0.75]
