"""MLflow for real, in a sqlite file: one run per run folder however often it is logged, and never a lost result."""

import json
import logging
import subprocess
import sys
import time
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from kinetext.tables import write_table
from kinetext.tracking import init_tracking, log_runs, tracking_uri

SPEC = {
    "dataset": "shapes",
    "protocol": "supervised",
    "method": "stan",
    "texts": "names",
    "backbone": "tiny",
    "method_options": {"layers": 2},
    "training": {"epochs": 3},
    "fingerprint": "f00d",
}
METRIC = {"split": "test", "view": "ordered", "metric": "top1", "low": 0.6, "high": 0.9, "clips": 40, "commit": "abc"}


def make_run(folder, seed, value=0.75):
    folder.mkdir(parents=True, exist_ok=True)
    run = f"shapes/supervised/stan/names/seed{seed}"
    (folder / "run.yaml").write_text(yaml.safe_dump({**SPEC, "seed": seed, "run": run}))
    write_table("metrics", [{**METRIC, "value": value}], folder / "metrics.parquet")
    curves = {"epoch": [0, 1, 2], "metric": ["loss"] * 3, "value": [2.0, 1.0, float("nan")]}
    pq.write_table(pa.table(curves), folder / "curves.parquet")
    (folder / "cost.json").write_text(json.dumps({"new_parameters": 12, "commit": "abc1234"}))
    return folder


@pytest.fixture(autouse=True)
def _no_uri_in_the_environment(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def everything(uri):
    """Every run that MLflow shows."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    return client, client.search_runs([e.experiment_id for e in client.search_experiments()])


def test_logged_twice_is_one_run_and_changed_content_replaces_it(tmp_path):
    uri = tracking_uri(SimpleNamespace(enabled=True, uri=None), tmp_path)
    runs = [make_run(tmp_path / f"seed{seed}", seed) for seed in (0, 1)]
    output = tmp_path / "logged.json"
    init_tracking(uri, ["supervised/shapes"])
    log_runs(runs, uri, output)
    first = json.loads(output.read_text())["runs"]
    log_runs(runs, uri, output)
    assert json.loads(output.read_text())["runs"] == first

    client, found = everything(uri)
    assert (
        {run.info.run_name for run in found} == set(first) == {f"shapes/supervised/stan/names/seed{s}" for s in (0, 1)}
    )
    logged = client.get_run(first["shapes/supervised/stan/names/seed0"]["mlflow_run_id"])
    assert logged.data.metrics["test/ordered/top1"] == 0.75
    assert (logged.data.metrics["test/ordered/top1.low"], logged.data.metrics["test/ordered/top1.high"]) == (0.6, 0.9)
    assert [m.value for m in client.get_metric_history(logged.info.run_id, "train/loss")] == [2.0, 1.0]
    assert (logged.data.params["training.epochs"], logged.data.params["cost.new_parameters"]) == ("3", "12")
    assert (logged.data.tags["fingerprint"], logged.data.tags["commit"]) == ("f00d", "abc1234")
    assert {a.path for a in client.list_artifacts(logged.info.run_id)} >= {"run.yaml", "metrics.parquet"}
    assert (tmp_path / "mlartifacts").is_dir()

    make_run(runs[0], 0, value=0.25)
    log_runs(runs, uri, output)
    second = json.loads(output.read_text())["runs"]
    changed = [run for run in first if first[run] != second[run]]
    assert changed == ["shapes/supervised/stan/names/seed0"]
    client, found = everything(uri)
    assert sorted(run.data.metrics["test/ordered/top1"] for run in found) == [0.25, 0.75]


def test_a_run_that_was_killed_half_way_is_replaced(tmp_path):
    uri = tracking_uri(SimpleNamespace(enabled=True, uri=None), tmp_path)
    run, output = make_run(tmp_path / "seed0", 0), tmp_path / "logged.json"
    log_runs([run], uri, output)
    client, (only,) = everything(uri)
    client.set_terminated(only.info.run_id, status="KILLED")
    log_runs([run], uri, output)
    _, (only_now,) = everything(uri)
    assert only_now.info.run_id != only.info.run_id
    assert only_now.info.status == "FINISHED"


def test_a_dead_server_costs_one_warning(tmp_path, caplog):
    runs = [make_run(tmp_path / f"seed{seed}", seed) for seed in (0, 1, 2)]
    output, started = tmp_path / "logged.json", time.monotonic()
    with caplog.at_level(logging.WARNING):
        log_runs(runs, "http://someone:secret@127.0.0.1:9", output)
    assert time.monotonic() - started < 60
    (warning,) = caplog.records
    assert "snakemake --forcerun log_run" in warning.getMessage()
    assert "secret" not in warning.getMessage() + output.read_text()
    logged = json.loads(output.read_text())["runs"]
    assert len(logged) == 3
    assert all(entry["mlflow_run_id"] is None and entry["error"] for entry in logged.values())


def test_a_dead_server_does_not_stop_init_tracking(caplog):
    with caplog.at_level(logging.WARNING):
        init_tracking("http://127.0.0.1:9", ["supervised/shapes"])
    assert len(caplog.records) == 1


def test_a_run_without_metrics_is_an_error_before_anything_is_sent(tmp_path):
    run = make_run(tmp_path / "seed0", 0)
    (run / "metrics.parquet").unlink()
    with pytest.raises(ValueError, match=r"metrics\.parquet is missing"):
        log_runs([run], "http://127.0.0.1:9", tmp_path / "logged.json")


def test_tracking_switched_off_imports_nothing(tmp_path):
    make_run(tmp_path / "seed0", 0)
    code = f"""
import sys; from pathlib import Path; from types import SimpleNamespace
from kinetext.tracking import init_tracking, log_runs, tracking_uri
folder = Path({str(tmp_path)!r})
uri = tracking_uri(SimpleNamespace(enabled=False, uri="http://127.0.0.1:9"), folder)
init_tracking(uri, ["a"]); log_runs([folder / "seed0"], uri, folder / "logged.json")
assert not [name for name in sys.modules if name.split(".")[0] == "mlflow"], "mlflow was imported"
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    (entry,) = json.loads((tmp_path / "logged.json").read_text())["runs"].values()
    assert entry == {"mlflow_run_id": None, "error": "tracking is off"}


def test_the_uri_comes_from_the_environment_then_the_options_then_the_results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert tracking_uri(SimpleNamespace(enabled=True, uri="http://there"), tmp_path) == "http://there"
    from_results = tracking_uri(SimpleNamespace(enabled=True, uri=None), tmp_path / "results")
    assert from_results == f"sqlite:///{tmp_path}/results/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    assert tracking_uri(SimpleNamespace(enabled=True, uri="http://there"), tmp_path) == "http://elsewhere"


def test_first_use_by_several_at_once_makes_one_experiment(tmp_path):
    code = f"""
from kinetext.tracking import init_tracking
init_tracking("sqlite:///{tmp_path}/mlflow.db", ["supervised/shapes"])
"""
    jobs = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(2)]
    assert [job.communicate()[1] for job in jobs] == [b"", b""]  # no warning, no traceback
    from mlflow import MlflowClient

    names = [e.name for e in MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db").search_experiments()]
    assert sorted(names) == ["Default", "supervised/shapes"]
