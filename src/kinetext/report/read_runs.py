"""Read the files of all runs: run.yaml, metrics.parquet, curves.parquet and predictions.parquet, each once.

Many runs are read by several processes (docs/decisions/055).
"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from kinetext.config.run import RunSpec, read_run
from kinetext.core.paths import LEVELS
from kinetext.core.tables import open_table, read_rows, read_table
from kinetext.report.run_outcomes import RunOutcomes, read_outcomes

RUN_COLUMNS = ("run", *LEVELS)
FEW = 200  # starting processes takes as long as reading so many runs
CHUNK = 25  # runs that a process reads at a time


class Run(NamedTuple):
    """A run folder and what its files say."""

    folder: Path
    spec: RunSpec
    predictions: RunOutcomes
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
    """Read run folders, in order. The confusable classes are read from the folder `results`."""
    if processes == 1 or len(folders) < FEW:
        return _read_some(folders, results)
    parts = [folders[first : first + CHUNK] for first in range(0, len(folders), CHUNK)]
    # "spawn": Arrow's threads do not survive a fork
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        return [run for part in pool.map(partial(_read_some, results=results), parts) for run in part]


def _read_some(folders: list[Path], results: Path) -> list[Run]:
    """Read run folders one after the other. Runs on the same classes share their confusable classes."""
    known: dict[Path, list[dict[str, Any]]] = {}
    runs = []
    for folder in folders:
        spec = read_run(folder / "run.yaml")
        confusables = class_tables(spec, results) / "confusables.parquet"
        if confusables not in known:
            known[confusables] = read_rows("confusables", confusables) if confusables.is_file() else []
        predicted = read_outcomes(spec, folder / "predictions.parquet", known[confusables])
        curves = _read_curves(folder / "curves.parquet")
        runs.append(Run(folder, spec, predicted, read_table("metrics", folder / "metrics.parquet"), curves))
    return runs


def _read_curves(path: Path) -> pa.Table | None:
    if not path.is_file():
        return None
    with open_table(path) as file:
        return file.read()
