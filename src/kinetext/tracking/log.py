"""Log run folders to MLflow: `kinetext log-run` logs those that Snakemake names, `kinetext sync-tracking` logs all.

Each run folder becomes one MLflow run. The runs that differ only in their seed are children of a parent run with their
mean (seeds.py). Each MLflow run is tagged with the sha256 of the logged content. A run whose content is unchanged is
kept. New content is logged completely as a new run before older runs of the same name are deleted, because MLflow has
no get-or-create (mlflow/mlflow#11783). A run whose logging was interrupted is replaced in the same way next time.
"""

import json
import logging
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from kinetext.config.report import TrackingOptions
from kinetext.core.files import atomic_write
from kinetext.tracking import send
from kinetext.tracking.content import NEEDED, Run, read_folder
from kinetext.tracking.files import write_files
from kinetext.tracking.seeds import group_runs, make_parent
from kinetext.tracking.store import Store, StoreError, find_store, open_client, retry

logger = logging.getLogger(__name__)


def log_run(folders: Sequence[Path], results: Path, options: TrackingOptions, output: Path) -> None:
    """Log run folders, each once; write the MLflow run id or the error of each run to the JSON file `output`.

    Other seeds of the same runs are logged too, because the mean covers all of them. If tracking is off, MLflow is not
    imported. If the store keeps failing, a warning is logged and the remaining runs are skipped, because each would
    wait for the store again. Raises ValueError if a run folder lacks run.yaml or metrics.parquet.
    """
    store, runs = find_store(options, results), [read_folder(folder) for folder in dict.fromkeys(folders)]
    beside = {path.parent for folder in folders for path in folder.resolve().parent.glob("seed*/metrics.parquet")}
    runs += _readable_runs(sorted(beside - {run.folder for run in runs}))
    logged, problem = _log_all(runs, store, options) if store.uri else ({}, "tracking is off")
    if problem and store.uri:
        logger.warning(
            "%s: MLflow failed (%s); the results are safe, log them later with `kinetext sync-tracking %s`",
            *(store, problem, results),
        )
    entries: dict[str, Any] = {run.name: {"mlflow_run_id": None, "error": problem} for run in runs}
    entries |= {name: {"mlflow_run_id": run_id, "error": None} for name, run_id in logged.items()}
    with atomic_write(output) as part:
        part.write_text(json.dumps({"uri": str(store), "runs": entries}, indent=1) + "\n")


def sync_tracking(results: Path, options: TrackingOptions) -> None:
    """Log the run folders of `results` that are missing or outdated in the store; print how many runs it has.

    Raises ValueError if tracking is off, if no run is measured, or if the store fails.
    """
    store, folders = find_store(options, results), sorted(path.parent for path in results.glob("runs/**/run.yaml"))
    measured = [folder for folder in folders if (folder / NEEDED[1]).is_file()]
    if not store.uri:
        raise ValueError("tracking.enabled is false: there is no store to fill")
    if not measured:
        raise ValueError(f"{results}: {len(folders)} planned runs, none measured; is it a results folder?")
    began_s = time.monotonic()
    logged, problem = _log_all(_readable_runs(measured), store, options)
    rest = f"; {len(folders) - len(measured)} are not measured yet" if len(measured) < len(folders) else ""
    print(f"{store}: {len(logged)} of {len(measured)} runs after {time.monotonic() - began_s:.0f} s{rest}")
    if problem:
        raise ValueError(f"{store}: MLflow failed ({problem}); run the same command again to resume")


def _readable_runs(folders: Sequence[Path]) -> list[Run]:
    runs = []
    for folder in folders:
        try:
            runs.append(read_folder(folder))
        except ValueError as error:
            logger.warning("%s; the run is left out", error)
    return runs


def _log_all(runs: Sequence[Run], store: Store, options: TrackingOptions) -> tuple[dict[str, str], str | None]:
    """Log runs and their parents; return run name -> MLflow run id, and the error that stopped the logging or None."""
    logged: dict[str, str] = {}
    try:
        client = retry(partial(open_client, store), store)
        for name, groups in group_runs(runs).items():
            parents = []
            for group in groups:
                for run in group:
                    run_id = _log_one(client, run, store, options)
                    if run_id is not None:
                        logged[run.name] = run_id
                children = [run for run in group if run.name in logged]
                if children:
                    parent = make_parent(children, [_digest(run, options) for run in children])
                    ids = [logged[run.name] for run in children]
                    parents.append(retry(partial(send.log_parent, client, parent, ids, store), store))
            retry(partial(send.keep_only, client, groups[0][0], name, parents, store), store)
    except StoreError as error:  # results do not depend on the tracking server
        return logged, str(error)
    return logged, None


def _log_one(client: Any, run: Run, store: Store, options: TrackingOptions) -> str | None:
    """Log one run folder; return the id of its MLflow run, or None if its files cannot be read."""
    digest = _digest(run, options)
    run_id = retry(partial(send.find_same, client, run, run.name, digest, store), store)
    if run_id is None:
        with tempfile.TemporaryDirectory(prefix="kinetext-run-") as folder:
            try:
                content = send.Content(run, digest, run.inputs(), Path(folder), write_files(run, options, Path(folder)))
            except ValueError as error:
                logger.warning("%s: is not logged: %s", run.folder, error)
                return None
            run_id = retry(partial(send.create_run, client, content, store), store)
    retry(partial(send.keep_only, client, run, run.name, [run_id], store), store)
    return run_id


def _digest(run: Run, options: TrackingOptions) -> str:
    return run.digest(options.models, options.max_model_mib)
