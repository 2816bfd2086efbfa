"""The calls to MLflow's client. Each may be made again from the start when the store failed in the middle of it."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinetext.tracking.content import Data, Point, Run
from kinetext.tracking.seeds import Parent
from kinetext.tracking.store import Store, experiment_id

BATCH = {"metrics": 1000, "params": 100}  # most that one call of log_batch may carry
PARENT, CONTEXT = "mlflow.parentRunId", "mlflow.data.context"  # tags of MLflow's own


def find_same(client: Any, like: Run, name: str, digest: str, store: Store) -> str | None:
    """The id of a run of this name that has this content, whole; None if there is none."""
    for run in _named(client, experiment_id(client, like.experiment, store), name, like.results):
        if run.data.tags.get("content") == digest and run.info.status == "FINISHED":
            return run.info.run_id
    return None


@dataclass(frozen=True)
class Content:
    """What is logged of a run folder."""

    run: Run
    digest: str
    data: Sequence[Data]
    folder: Path  # with files/ and, where there is one, model/ (files.py)
    model: str  # which model that is, or why there is none


def log_run(client: Any, content: Content, store: Store) -> str:
    """A new MLflow run of a run folder; its id."""
    run, (began_ms, ended_ms) = content.run, content.run.times_ms()
    experiment = experiment_id(client, run.experiment, store)
    tags = {**run.tags(), "kind": "seed", "content": content.digest, "model": content.model}
    run_id = client.create_run(experiment, began_ms, tags, run.name).info.run_id
    log_numbers(client, run_id, run.points(), run.params())
    _log_data(client, run_id, content.data)
    client.log_artifacts(run_id, str(content.folder / "files"))
    if (content.folder / "model").is_dir():
        _log_model(client, run_id, experiment, content.folder / "model")
    client.set_terminated(run_id, "FINISHED", ended_ms)
    return run_id


def log_parent(client: Any, parent: Parent, children: Sequence[str], store: Store) -> str:
    """The run that has the mean of some seeds, made if it is not there, with their runs below it; its id."""
    first, (began_ms, ended_ms) = parent.runs[0], parent.times_ms()
    run_id = find_same(client, first, first.group, parent.digest, store)
    experiment = experiment_id(client, first.experiment, store)
    if run_id is None:
        tags = {**parent.tags(), "kind": "mean", "content": parent.digest}
        run_id = client.create_run(experiment, began_ms, tags, f"{first.group} (mean)").info.run_id
        points = [Point(key, value, 0, ended_ms) for key, value in parent.summary().items()]
        log_numbers(client, run_id, points, parent.params())
        _log_data(client, run_id, first.data())
        client.set_terminated(run_id, "FINISHED", ended_ms)
    below = {run.info.run_id for run in client.search_runs([experiment], f"tags.`{PARENT}` = '{run_id}'")}
    for child in children:
        if child not in below:
            client.set_tag(child, PARENT, run_id)
    return run_id


def keep_only(client: Any, like: Run, name: str, kept: Sequence[str], store: Store) -> None:
    """Delete the other runs of this name, with their models."""
    place = experiment_id(client, like.experiment, store)
    for run in _named(client, place, name, like.results):
        if run.info.run_id not in kept:
            for model in client.search_logged_models([place], f"source_run_id = '{run.info.run_id}'"):
                client.delete_logged_model(model.model_id)
            client.delete_run(run.info.run_id)


def log_numbers(client: Any, run_id: str, points: Iterable[Point], params: dict[str, str] | None = None) -> None:
    """Parameters and numbers, as many at a time as MLflow takes."""
    from mlflow.entities import Metric, Param

    given = [Param(key, value) for key, value in (params or {}).items()]
    for first in range(0, len(given), BATCH["params"]):
        client.log_batch(run_id, params=given[first : first + BATCH["params"]])
    numbers = [Metric(key, value, time_ms, step) for key, value, step, time_ms in points]
    for first in range(0, len(numbers), BATCH["metrics"]):
        client.log_batch(run_id, metrics=numbers[first : first + BATCH["metrics"]])


def _log_data(client: Any, run_id: str, data: Sequence[Data]) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = [
        DatasetInput(
            Dataset(d.name, d.digest, "local", json.dumps({"uri": str(d.source)}), profile=json.dumps(d.profile)),
            [InputTag(CONTEXT, d.role)],
        )
        for d in data
    ]
    if inputs:
        client.log_inputs(run_id, inputs)


def _log_model(client: Any, run_id: str, experiment: str, folder: Path) -> None:
    """The model, as a "logged model" of the run: runs:/{run id}/model, and among the experiment's models."""
    from mlflow.entities import LoggedModelOutput

    model = client.create_logged_model(experiment, "model", run_id).model_id
    client.log_model_artifacts(model, str(folder))
    client.log_outputs(run_id, [LoggedModelOutput(model, 0)])
    client.finalize_logged_model(model, "READY")


def _named(client: Any, experiment: str, name: str, results: str) -> list[Any]:
    """The runs of this name from this results folder."""
    found = client.search_runs([experiment], f"tags.run = '{name}'")
    return [run for run in found if run.data.tags.get("results") == results]
