"""Read the files of all runs: run.yaml, metrics.parquet, curves.parquet and predictions.parquet, each once.

Several processes can share this work (docs/decisions/055).
"""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from kinetext.config.run import RunSpec, read_run
from kinetext.core.pandas_import import block_pandas_import
from kinetext.core.paths import LEVELS
from kinetext.core.tables import open_table, read_rows, read_table
from kinetext.report.run_outcomes import RunOutcomes, read_outcomes
from kinetext.video.pool import NoResult, map_with_timeout

RUN_COLUMNS = ("run", *LEVELS)
CHUNK = 25  # runs that a process reads at a time
LIMIT_S = 3600  # for a chunk


class Run(NamedTuple):
    """A run folder and the content of its files."""

    folder: Path
    spec: RunSpec
    outcomes: RunOutcomes
    metrics: pa.Table
    curves: pa.Table | None  # None: nothing was trained

    def columns(self) -> dict[str, Any]:
        """Return the columns that identify the run."""
        return {column: getattr(self.spec, column) for column in RUN_COLUMNS}

    def texts(self, results: Path) -> Path:
        """Return the path of the run's text set."""
        return class_tables(self.spec, results) / "texts" / f"{self.spec.texts}.parquet"


def class_tables(spec: RunSpec, results: Path) -> Path:
    """Return the folder of the tables about a run's classes."""
    return results / "data" / spec.dataset / spec.protocol / spec.backbone


def read_runs(folders: list[Path], results: Path, processes: int = 1) -> list[Run]:
    """Read run folders, in order. The confusable classes are read from the folder `results`.

    This process itself reads what the other processes cannot, so that it raises the error: ValueError for a damaged file.
    """
    if processes == 1:
        return _read_some(folders, results)
    parts = [folders[first : first + CHUNK] for first in range(0, len(folders), CHUNK)]
    read = partial(_read_in_worker, results=results)
    runs: list[Run] = []
    for part, done in zip(parts, map_with_timeout(read, parts, LIMIT_S, processes, preload=[__name__]), strict=True):
        runs += _read_some(part, results) if isinstance(done, NoResult) else done
    return runs


def _read_in_worker(folders: list[Path], results: Path) -> list[Run]:
    block_pandas_import()
    return _read_some(folders, results)


def _read_some(folders: list[Path], results: Path) -> list[Run]:
    """Read run folders one after the other. Runs share equal clip ids, and their confusable classes."""
    confusables_by_path: dict[Path, list[dict[str, Any]]] = {}
    shared_ids: dict[tuple[str, ...], tuple[str, ...]] = {}
    runs = []
    for folder in folders:
        spec = read_run(folder / "run.yaml")
        path = class_tables(spec, results) / "confusables.parquet"
        if path not in confusables_by_path:
            confusables_by_path[path] = read_rows("confusables", path) if path.is_file() else []
        outcomes = read_outcomes(spec, folder / "predictions.parquet", confusables_by_path[path], shared_ids)
        metrics = read_table("metrics", folder / "metrics.parquet")
        runs.append(Run(folder, spec, outcomes, metrics, _read_curves(folder / "curves.parquet")))
    return runs


def _read_curves(path: Path) -> pa.Table | None:
    if not path.is_file():
        return None
    with open_table(path) as file:
        return file.read()
