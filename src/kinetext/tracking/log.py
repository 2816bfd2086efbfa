"""Run folders into MLflow: `kinetext log-run` for those that Snakemake names, `kinetext sync-tracking` for all that there are.

One run for each run folder, and above the seeds of one method with one kind of texts a parent that has their mean
(seeds.py). Idempotent, by content: a run is tagged with the sha256 of what is logged of it; the same content is left
alone, new content is logged whole as a new run before the older ones of its name are deleted (MLflow has no get-or-create,
its issue 11783). What was cut half-way is thus replaced the next time, and that is all that recovery has to do.
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
from kinetext.tracking.seeds import group_runs, parent_of
from kinetext.tracking.store import Store, StoreError, find_store, open_client, patiently

logger = logging.getLogger(__name__)


def log_runs(folders: Sequence[Path], results: Path, options: TrackingOptions, output: Path) -> None:
    """Log run folders, each once; write to `output` a JSON with the MLflow run id, or the error, of each. Other seeds that
    lie beside them go along: the mean is of all that there are, whichever were asked for.

    With tracking off nothing is imported. A store that fails for a while costs a warning, and the other runs are not tried:
    each would wait as long. Raises ValueError if a run folder lacks run.yaml or metrics.parquet.
    """
    store, runs = find_store(options, results), [read_folder(folder) for folder in dict.fromkeys(folders)]
    beside = {path.parent for folder in folders for path in folder.resolve().parent.glob("seed*/metrics.parquet")}
    runs += _read_those_that_can_be(sorted(beside - {run.folder for run in runs}))
    logged, problem = _log_all(runs, store, options) if store.uri else ({}, "tracking is off")
    if problem and store.uri:
        logger.warning(
            "%s: MLflow failed (%s); the results are safe, log them later with `kinetext sync-tracking %s`",
            *(store, problem, results),
        )
    found: dict[str, Any] = {run.name: {"mlflow_run_id": None, "error": problem} for run in runs}
    found |= {name: {"mlflow_run_id": run_id, "error": None} for name, run_id in logged.items()}
    with atomic_write(output) as part:
        part.write_text(json.dumps({"uri": str(store), "runs": found}, indent=1) + "\n")


def sync_tracking(results: Path, options: TrackingOptions) -> None:
    """Make the store say what the run folders of `results` say, whatever it says now; print what there is.

    Raises ValueError if tracking is off, if the folder has no measured run, or if the store fails.
    """
    store, folders = find_store(options, results), sorted(path.parent for path in results.glob("runs/**/run.yaml"))
    measured = [folder for folder in folders if (folder / NEEDED[1]).is_file()]
    if not store.uri:
        raise ValueError("tracking.enabled is false: there is no store to fill")
    if not measured:
        raise ValueError(f"{results}: has {len(folders)} planned runs and no measured one; is it a results folder?")
    began_s = time.monotonic()
    logged, problem = _log_all(_read_those_that_can_be(measured), store, options)
    rest = f"; {len(folders) - len(measured)} are not measured yet" if len(measured) < len(folders) else ""
    print(f"{store}: {len(logged)} of {len(measured)} runs after {time.monotonic() - began_s:.0f} s{rest}")
    if problem:
        raise ValueError(f"{store}: MLflow failed ({problem}); the same command goes on from there")


def _read_those_that_can_be(folders: Sequence[Path]) -> list[Run]:
    runs = []
    for folder in folders:
        try:
            runs.append(read_folder(folder))
        except ValueError as error:
            logger.warning("%s; the run is left out", error)
    return runs


def _log_all(runs: Sequence[Run], store: Store, options: TrackingOptions) -> tuple[dict[str, str], str | None]:
    """Log runs and their parents: the MLflow run id of each that is there, and what ended it early."""
    logged: dict[str, str] = {}
    try:
        client = patiently(partial(open_client, store), store)
        for name, groups in group_runs(runs).items():
            parents = []
            for group in groups:
                for run in group:
                    run_id = _log_run(client, run, store, options)
                    if run_id is not None:
                        logged[run.name] = run_id
                there = [run for run in group if run.name in logged]
                if there:
                    parent = parent_of(there, [_digest(run, options) for run in there])
                    children = [logged[run.name] for run in there]
                    parents.append(patiently(partial(send.log_parent, client, parent, children, store), store))
            patiently(partial(send.keep_only, client, groups[0][0], name, parents, store), store)
    except StoreError as error:  # whatever a tracking server may do, the results do not depend on it
        return logged, str(error)
    return logged, None


def _log_run(client: Any, run: Run, store: Store, options: TrackingOptions) -> str | None:
    """Log one run folder; the id of the one MLflow run that then stands for it, or None if its files cannot be read."""
    digest = _digest(run, options)
    kept = patiently(partial(send.find_same, client, run, run.name, digest, store), store)
    if kept is None:
        with tempfile.TemporaryDirectory(prefix="kinetext-run-") as folder:
            try:
                content = send.Content(run, digest, run.data(), Path(folder), write_files(run, options, Path(folder)))
            except ValueError as error:
                logger.warning("%s: is not logged: %s", run.folder, error)
                return None
            kept = patiently(partial(send.log_run, client, content, store), store)
    patiently(partial(send.keep_only, client, run, run.name, [kept], store), store)
    return kept


def _digest(run: Run, options: TrackingOptions) -> str:
    return run.digest(options.models, options.max_model_mib)
