"""Calls of MLflow's client. Each function can be called again from the start if the store fails in the middle."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kinetext.tracking.content import InputTable, Point, Run
from kinetext.tracking.store import Store, experiment_id

if TYPE_CHECKING:  # the statistics behind it import SciPy, and a training that sends curves needs none
    from kinetext.tracking.seeds import Parent

BATCH = {"metrics": 1000, "params": 100}  # MLflow's limits of one call of log_batch
PARENT, CONTEXT = "mlflow.parentRunId", "mlflow.data.context"  # tags that MLflow defines


def find_same(client: Any, like: Run, name: str, digest: str, store: Store) -> str | None:
    """Return the id of a complete MLflow run with this name and content, or None.

    `like` is a run of the same experiment and results folder.
    """
    for run in _runs_named(client, experiment_id(client, like.experiment, store), name, like.results):
        if run.data.tags.get("content") == digest and run.info.status == "FINISHED":
            return run.info.run_id
    return None


@dataclass(frozen=True)
class Content:
    """The content of a run folder as it is logged."""

    run: Run
    digest: str
    inputs: Sequence[InputTable]
    folder: Path  # with files/ and possibly model/ (files.py)
    model: str  # which model it is, or why there is none


def create_run(client: Any, content: Content, store: Store) -> str:
    """Create the MLflow run of a run folder and return its id."""
    run, (began_ms, ended_ms) = content.run, content.run.times_ms()
    experiment = experiment_id(client, run.experiment, store)
    tags = {**run.tags(), "kind": "seed", "content": content.digest, "model": content.model}
    run_id = client.create_run(experiment, began_ms, tags, run.name).info.run_id
    log_numbers(client, run_id, run.points(), run.params())
    _log_inputs(client, run_id, content.inputs)
    client.log_artifacts(run_id, str(content.folder / "files"))
    if (content.folder / "model").is_dir():
        _log_model(client, run_id, experiment, content.folder / "model")
    client.set_terminated(run_id, "FINISHED", ended_ms)
    return run_id


def log_parent(client: Any, parent: Parent, children: Sequence[str], store: Store) -> str:
    """Return the id of the parent run of some seeds; create it if necessary. `children` are the ids of its runs."""
    first, (began_ms, ended_ms) = parent.runs[0], parent.times_ms()
    run_id = find_same(client, first, first.group, parent.digest, store)
    experiment = experiment_id(client, first.experiment, store)
    if run_id is None:
        tags = {**parent.tags(), "kind": "mean", "content": parent.digest}
        run_id = client.create_run(experiment, began_ms, tags, f"{first.group} (mean)").info.run_id
        points = [Point(key, value, 0, ended_ms) for key, value in parent.summary().items()]
        log_numbers(client, run_id, points, parent.params())
        _log_inputs(client, run_id, first.inputs())
        client.set_terminated(run_id, "FINISHED", ended_ms)
    attached = {run.info.run_id for run in client.search_runs([experiment], f"tags.`{PARENT}` = '{run_id}'")}
    for child in children:
        if child not in attached:
            client.set_tag(child, PARENT, run_id)
    return run_id


def keep_only(client: Any, like: Run, name: str, kept: Sequence[str], store: Store) -> None:
    """Delete all MLflow runs of this name except those in `kept`, with their models.

    `like` is a run of the same experiment and results folder.
    """
    experiment = experiment_id(client, like.experiment, store)
    for run in _runs_named(client, experiment, name, like.results):
        if run.info.run_id not in kept:
            for model in client.search_logged_models([experiment], f"source_run_id = '{run.info.run_id}'"):
                client.delete_logged_model(model.model_id)
            client.delete_run(run.info.run_id)


def log_numbers(client: Any, run_id: str, points: Iterable[Point], params: dict[str, str] | None = None) -> None:
    """Log parameters and metrics, in batches of the size that MLflow allows."""
    from mlflow.entities import Metric, Param

    parameters = [Param(key, value) for key, value in (params or {}).items()]
    for first in range(0, len(parameters), BATCH["params"]):
        client.log_batch(run_id, params=parameters[first : first + BATCH["params"]])
    metrics = [Metric(key, value, time_ms, step) for key, value, step, time_ms in points]
    for first in range(0, len(metrics), BATCH["metrics"]):
        client.log_batch(run_id, metrics=metrics[first : first + BATCH["metrics"]])


def _log_inputs(client: Any, run_id: str, tables: Sequence[InputTable]) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = [
        DatasetInput(
            Dataset(
                table.name,
                table.digest,
                source_type="local",
                source=json.dumps({"uri": str(table.source)}),
                profile=json.dumps(table.profile),
            ),
            [InputTag(CONTEXT, table.role)],
        )
        for table in tables
    ]
    if inputs:
        client.log_inputs(run_id, inputs)


def _log_model(client: Any, run_id: str, experiment: str, folder: Path) -> None:
    """Log the model of a run as MLflow's "logged model", so that it is listed among the models of the experiment.

    Its address is runs:/{run id}/model.
    """
    from mlflow.entities import LoggedModelOutput

    model = client.create_logged_model(experiment, "model", run_id).model_id
    client.log_model_artifacts(model, str(folder))
    client.log_outputs(run_id, [LoggedModelOutput(model, 0)])
    client.finalize_logged_model(model, "READY")


def _runs_named(client: Any, experiment: str, name: str, results: str) -> list[Any]:
    """Return the MLflow runs with this name that come from this results folder."""
    runs = client.search_runs([experiment], f"tags.run = '{name}'")
    return [run for run in runs if run.data.tags.get("results") == results]
