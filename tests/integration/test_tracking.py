"""A real MLflow store in a SQLite file: one run per run folder however often it is logged, a parent with the mean of its
seeds, no lost result. Stores of a cluster: test_tracking_stores.py; models and files: test_tracking_model.py.
"""

import json
import logging
import shutil
import subprocess
import sys
import time

import pytest

from kinetext.config.report import TrackingOptions
from kinetext.core.tables import read_rows
from kinetext.evaluation.seed_means import estimate_of_run, mean_over_seeds, pool_seeds
from kinetext.tracking.log import log_run, sync_tracking
from kinetext.tracking.store import find_store
from tracked import client_of, logged_runs, make_run, store_content_in_new_process

STAN = "shapes/supervised/tiny/stan/names"


@pytest.fixture(autouse=True)
def _no_uri_in_the_environment(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def uri(tmp_path):
    return f"sqlite:///{tmp_path}/mlflow.db"


def log(results, *runs, **options):
    """Log runs into the SQLite store of the results folder; return the MLflow run id of each."""
    output = results / "logged.json"
    log_run(runs, results, TrackingOptions(**options), output)
    return {name: entry["mlflow_run_id"] for name, entry in json.loads(output.read_text())["runs"].items()}


def test_unchanged_run_is_kept_and_changed_content_replaces_it(tmp_path, uri):
    runs = [make_run(tmp_path, seed) for seed in (0, 1)]
    first = log(tmp_path, *runs)
    assert log(tmp_path, *runs) == first
    client = client_of(uri)
    assert {run.info.run_name: run.info.run_id for run in logged_runs(uri, "seed")} == first
    assert set(first) == {f"{STAN}/seed0", f"{STAN}/seed1"}
    assert {e.name for e in client.search_experiments()} == {"Default", "recognition/shapes"}
    logged = client.get_run(first[f"{STAN}/seed0"])
    assert logged.data.metrics["test/ordered/top1"] == 0.75
    assert (logged.data.metrics["test/ordered/top1.low"], logged.data.metrics["test/ordered/top1.high"]) == (0.6, 0.9)
    assert [m.value for m in client.get_metric_history(logged.info.run_id, "train/loss")] == [
        2.0,
        1.0,
    ]  # NaN is not logged
    assert (logged.data.params["training.epochs"], logged.data.params["cost.new_parameters"]) == ("3", "12")
    assert (logged.data.tags["fingerprint"], logged.data.tags["commit"]) == ("f0", "abc1234")
    assert logged.info.end_time - logged.info.start_time == 60_000  # train_seconds
    assert {a.path for a in client.list_artifacts(logged.info.run_id)} >= {"run.yaml", "metrics.parquet"}
    assert (tmp_path / "mlartifacts").is_dir()

    make_run(tmp_path, 0, value=0.25)
    second = log(tmp_path, *runs)
    assert [run for run in first if first[run] != second[run]] == [f"{STAN}/seed0"]
    assert sorted(run.data.metrics["test/ordered/top1"] for run in logged_runs(uri, "seed")) == [0.25, 0.75]
    (parent,) = logged_runs(uri, "mean")
    assert parent.data.metrics["test/ordered/top1"] == 0.5


def test_parent_has_the_mean_of_its_seeds_with_the_interval_of_the_report(tmp_path, uri):
    values = (0.5, 0.6, 0.7)
    runs = [make_run(tmp_path, seed, value=value) for seed, value in enumerate(values)]
    log(tmp_path, *runs)
    (parent,) = logged_runs(uri, "mean")
    numbers = parent.data.metrics
    rows = [row for run in runs for row in read_rows("metrics", run / "metrics.parquet")]
    seeds = [estimate_of_run(row) for row in rows if (row["metric"], row["frame_order"]) == ("top1", "ordered")]
    mean = mean_over_seeds(seeds, pool_seeds([values]))
    shown = [numbers[f"test/ordered/top1{end}"] for end in ("", ".low", ".high")]
    assert shown == pytest.approx([0.6, mean.low, mean.high])
    assert mean.high - mean.low > 0.2  # of three seeds that deviate by 0.1
    assert not [key for key in numbers if "seeds_" in key]
    assert parent.data.params["method_options.layers"] == "2"
    assert "seed" not in parent.data.params
    children = {
        run.info.run_name
        for run in logged_runs(uri, "seed")
        if run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    }
    assert children == {f"{STAN}/seed{seed}" for seed in range(3)}


def test_the_mean_of_one_seed_has_its_interval(tmp_path, uri):
    log(tmp_path, make_run(tmp_path, 0))
    (parent,), (child,) = logged_runs(uri, "mean"), logged_runs(uri, "seed")
    for end in ("", ".low", ".high"):
        assert parent.data.metrics[f"test/ordered/top1{end}"] == child.data.metrics[f"test/ordered/top1{end}"]


def test_mean_is_over_all_seeds_in_the_folder(tmp_path, uri):
    """The seeds on the command line do not matter."""
    first = log(tmp_path, make_run(tmp_path, 0))
    second = log(tmp_path, make_run(tmp_path, 1, value=0.25))
    assert second.items() >= first.items()  # the first is left alone
    (parent,) = logged_runs(uri, "mean")
    assert (parent.data.tags["seeds"], parent.data.metrics["test/ordered/top1"]) == ("2", 0.5)


def test_seeds_with_different_settings_are_not_averaged(tmp_path, uri):
    log(tmp_path, make_run(tmp_path, 0), make_run(tmp_path, 1, value=0.25, training={"epochs": 9}))
    means = {
        run.data.params["training.epochs"]: run.data.metrics["test/ordered/top1"] for run in logged_runs(uri, "mean")
    }
    assert means == {"3": 0.75, "9": 0.25}


def test_two_results_folders_share_a_store(tmp_path, uri, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    for name, value in (("first", 0.25), ("second", 0.75), ("first", 0.5)):
        log(tmp_path / name, make_run(tmp_path / name, 0, value=value))
    for kind in ("seed", "mean"):
        assert sorted(run.data.metrics["test/ordered/top1"] for run in logged_runs(uri, kind)) == [0.5, 0.75]


def test_interrupted_run_is_replaced(tmp_path, uri):
    run = make_run(tmp_path, 0)
    (first,) = log(tmp_path, run).values()
    client_of(uri).set_terminated(first, status="KILLED")
    (second,) = log(tmp_path, run).values()
    (only,) = logged_runs(uri, "seed")
    assert (only.info.run_id, only.info.status) == (second, "FINISHED") != (first, "FINISHED")


def sync(results):
    """Return the output of `kinetext sync-tracking`, in a new process: MLflow keeps a deleted file open."""
    command = [sys.executable, "-m", "kinetext", "sync-tracking", str(results)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert done.stderr == ""
    return done.stdout


def test_sync_rebuilds_a_deleted_database(tmp_path, uri):
    """The command prints one line, and the new database equals the deleted one."""
    for seed in (0, 1):
        make_run(tmp_path, seed)
    make_run(tmp_path, 0, method="zero_shot", metric="t2v_r1", dataset="films")
    (make_run(tmp_path, 7) / "metrics.parquet").unlink()  # not measured yet
    sync(tmp_path)
    before = store_content_in_new_process(uri)
    assert len(before) == 5
    assert {experiment for experiment, _ in before} == {"recognition/shapes", "retrieval/films"}
    (tmp_path / "mlflow.db").unlink()
    shutil.rmtree(tmp_path / "mlartifacts")
    printed = sync(tmp_path)
    assert printed.startswith(f"{uri}: 3 of 3 runs after ")
    assert printed.endswith(" s; 1 are not measured yet\n")
    assert store_content_in_new_process(uri) == before


def test_sync_leaves_out_runs_whose_metrics_belong_to_an_earlier_plan(tmp_path, uri, caplog):
    make_run(tmp_path, 0)
    make_run(tmp_path, 1, measured="f0")  # run.yaml says f1
    with caplog.at_level(logging.WARNING):
        sync_tracking(tmp_path, TrackingOptions())
    assert [run.info.run_name for run in logged_runs(uri, "seed")] == [f"{STAN}/seed0"]
    assert "the metrics belong to an earlier plan of the run" in caplog.text


def test_sync_of_a_folder_without_results_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="0 planned runs, none measured; is it a results folder"):
        sync_tracking(tmp_path, TrackingOptions())
    assert not list(tmp_path.iterdir())


def test_dead_server_causes_one_warning(tmp_path, caplog, monkeypatch):
    runs = [make_run(tmp_path, seed) for seed in (0, 1, 2)]
    output, started = tmp_path / "logged.json", time.monotonic()
    monkeypatch.setattr("kinetext.tracking.store.RETRY_FOR_S", 3.0)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://someone:secret@127.0.0.1:9")
    with caplog.at_level(logging.WARNING):
        log_run(runs, tmp_path, TrackingOptions(), output)
    assert time.monotonic() - started < 60
    (warning,) = caplog.records
    assert f"kinetext sync-tracking {tmp_path}" in warning.getMessage()
    assert "secret" not in warning.getMessage() + output.read_text()
    logged = json.loads(output.read_text())["runs"]
    assert len(logged) == 3
    assert all(entry["mlflow_run_id"] is None and entry["error"] for entry in logged.values())


def test_run_without_metrics_is_an_error_before_anything_is_sent(tmp_path):
    run = make_run(tmp_path, 0)
    (run / "metrics.parquet").unlink()
    with pytest.raises(ValueError, match=r"metrics\.parquet is missing"):
        log_run([run], tmp_path, TrackingOptions(uri="http://127.0.0.1:9"), tmp_path / "logged.json")


def test_disabled_tracking_does_not_import_mlflow(tmp_path):
    run = make_run(tmp_path, 0)
    code = f"""
import sys; from pathlib import Path
from kinetext.config.report import TrackingOptions
from kinetext.tracking.log import log_run
folder = Path({str(tmp_path)!r})
log_run([Path({str(run)!r})], folder, TrackingOptions(enabled=False, uri="http://127.0.0.1:9"), folder / "logged.json")
assert not [name for name in sys.modules if name.split(".")[0] == "mlflow"], "mlflow was imported"
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    (entry,) = json.loads((tmp_path / "logged.json").read_text())["runs"].values()
    assert entry == {"mlflow_run_id": None, "error": "tracking is off"}


def test_store_comes_from_the_environment_then_the_options_then_the_results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()

    def location(uri=None):
        store = find_store(TrackingOptions(uri=uri), tmp_path / "results")
        return store.uri, store.artifacts

    assert location() == (f"sqlite:///{tmp_path}/results/mlflow.db", tmp_path / "results/mlartifacts")
    assert location("sqlite:///here.db") == (f"sqlite:///{tmp_path}/here.db", tmp_path / "mlartifacts")
    assert location("http://there") == ("http://there", None)  # the server stores the files
    assert location("postgresql://me@there/runs") == (
        "postgresql+psycopg://me@there/runs",
        tmp_path / "results/mlartifacts",
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    assert location("http://there") == ("http://elsewhere", None)
