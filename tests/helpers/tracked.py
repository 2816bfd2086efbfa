"""Write run folders to log, and read what a store holds."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from kinetext.core.tables import write_table

HERE = Path(__file__).parent
SPEC = {
    "dataset": "shapes",
    "protocol": "supervised",
    "method": "stan",
    "texts": "names",
    "backbone": "tiny",
    "method_options": {"layers": 2},
    "training": {"epochs": 3},
    "dataset_options": {"frames": {"num_frames": 8}},
}
METRIC = {
    "split": "test",
    "frame_order": "ordered",
    "metric": "top1",
    "low": 0.6,
    "high": 0.9,
    "clips": 40,
    "commit": "abc",
}
CURVES = {"epoch": [0, 1, 2], "metric": ["loss"] * 3, "value": [2.0, 1.0, float("nan")]}


def make_run(results, seed, value=0.75, curves=CURVES, metric="top1", measured=None, **spec):
    """Write a measured run folder below `results`; `measured` is the fingerprint of its metrics, by default the run's."""
    spec = {**SPEC, "fingerprint": f"f{seed}", **spec, "seed": seed}
    spec["run"] = "/".join(spec[key] for key in ("dataset", "protocol", "backbone", "method", "texts")) + f"/seed{seed}"
    folder = results / "runs" / spec["run"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.yaml").write_text(yaml.safe_dump(spec))
    row = {**METRIC, "metric": metric, "value": value, "fingerprint": measured or spec["fingerprint"]}
    write_table("metrics", [row], folder / "metrics.parquet")
    pq.write_table(pa.table(curves), folder / "curves.parquet")
    (folder / "cost.json").write_text(json.dumps({"new_parameters": 12, "commit": "abc1234", "train_seconds": 60.0}))
    return folder


def long_curves(points):
    """Return curves of this many points, four per epoch."""
    names = ("train_loss", "lr", "val_loss", "val_top1")
    return {
        "epoch": [1 + n // 4 for n in range(points)],
        "metric": [names[n % 4] for n in range(points)],
        "value": [1 / (n + 1) for n in range(points)],
    }


def client_of(uri):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def logged_runs(uri, kind=None):
    """Return every run that MLflow shows, or those with this tag `kind`."""
    client = client_of(uri)
    experiments = [e.experiment_id for e in client.search_experiments()]
    return client.search_runs(experiments, f"tags.kind = '{kind}'" if kind else "")


def store_content(uri):
    """Return what a store holds, without ids, which differ each time."""
    client = client_of(uri)
    names = {e.experiment_id: e.name for e in client.search_experiments()}
    runs = {run.info.run_id: run for run in logged_runs(uri)}
    content = {}
    for run in runs.values():
        tags = dict(run.data.tags)
        parent = tags.pop("mlflow.parentRunId", None)
        history = {
            key: [(m.step, m.value, m.timestamp) for m in client.get_metric_history(run.info.run_id, key)]
            for key in run.data.metrics
        }
        inputs = sorted((i.dataset.name, i.dataset.digest, i.tags[0].value) for i in run.inputs.dataset_inputs)
        files = sorted(a.path for a in client.list_artifacts(run.info.run_id))
        models = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
        content[names[run.info.experiment_id], run.info.run_name] = {
            "tags": tags,
            "parent": runs[parent].info.run_name if parent else None,
            "params": run.data.params,
            "metrics": history,
            "inputs": inputs,
            "files": files,
            "models": [(model.name, str(model.status)) for model in models],
            "times": (run.info.status, run.info.start_time, run.info.end_time),
        }
    return content


def store_content_in_new_process(uri):
    """Return `store_content`, read by a new process."""
    code = f"from tracked import store_content; print(store_content({uri!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=HERE, stdout=subprocess.PIPE, text=True, check=True)
    return ast.literal_eval(done.stdout)
