"""Read the files of all runs: run.yaml, metrics.parquet, curves.parquet and predictions.parquet, each once.

Several processes can share this work (docs/decisions/055). Each returns a part of the runs, and a part of each table.
"""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from kinetext.config.run import RunSpec, read_run
from kinetext.core.collected import COLLECTED
from kinetext.core.pandas_import import block_pandas_import
from kinetext.core.paths import LEVELS
from kinetext.core.tables import open_table, read_rows, read_table, schema
from kinetext.report.run_outcomes import RunOutcomes, read_outcomes
from kinetext.video.pool import NoResult, map_with_timeout

RUN_COLUMNS = ("run", *LEVELS)
CHUNK = 25  # runs that a process reads at a time
LIMIT_S = 3600  # for a chunk


class Run(NamedTuple):
    """A run folder, its specification and its predictions."""

    folder: Path
    spec: RunSpec
    outcomes: RunOutcomes

    def columns(self) -> dict[str, Any]:
        """Return the columns that identify the run."""
        return {column: getattr(self.spec, column) for column in RUN_COLUMNS}

    def texts(self, results: Path) -> Path:
        """Return the path of the run's text set."""
        return class_tables(self.spec, results) / "texts" / f"{self.spec.texts}.parquet"


class Part(NamedTuple):
    """Runs, and the rows of all of them in the tables `metrics`, `curves`, `confusions` and `risk_coverage`."""

    runs: list[Run]
    tables: dict[str, pa.Table]


def class_tables(spec: RunSpec, results: Path) -> Path:
    """Return the folder of the tables about a run's classes."""
    return results / "data" / spec.dataset / spec.protocol / spec.backbone


def read_runs(folders: list[Path], results: Path, processes: int = 1) -> list[Part]:
    """Read run folders, in order, in one part or several. The confusable classes are read from the folder `results`.

    This process itself reads what the other processes cannot, so that it raises the error: ValueError for a damaged file.
    """
    if processes == 1:
        return [_read_some(folders, results)]
    chunks = [folders[first : first + CHUNK] for first in range(0, len(folders), CHUNK)]
    read = partial(_read_in_worker, results=results)
    parts = map_with_timeout(read, chunks, LIMIT_S, processes, preload=[__name__])
    return [
        _read_some(chunk, results) if isinstance(part, NoResult) else part
        for chunk, part in zip(chunks, parts, strict=True)
    ]


def _read_in_worker(folders: list[Path], results: Path) -> Part:
    block_pandas_import()
    return _read_some(folders, results)


def _read_some(folders: list[Path], results: Path) -> Part:
    """Read run folders one after the other. Runs share equal clip ids, and their confusable classes."""
    tables: dict[str, list[pa.Table]] = {name: [] for name in ("metrics", "curves", "confusions", "risk_coverage")}
    confusables_by_path: dict[Path, list[dict[str, Any]]] = {}
    shared_ids: dict[tuple[str, ...], tuple[str, ...]] = {}
    runs = []
    for folder in folders:
        spec = read_run(folder / "run.yaml")
        path = class_tables(spec, results) / "confusables.parquet"
        if path not in confusables_by_path:
            confusables_by_path[path] = read_rows("confusables", path) if path.is_file() else []
        outcomes = read_outcomes(spec, folder / "predictions.parquet", confusables_by_path[path], shared_ids)
        runs.append(Run(folder, spec, outcomes))
        tables["metrics"].append(read_table("metrics", folder / "metrics.parquet"))
        if (folder / "curves.parquet").is_file():  # else nothing was trained
            with open_table(folder / "curves.parquet") as file:
                tables["curves"].append(with_columns(runs[-1].columns(), file.read()))
        for name, added in outcomes.tables.items():
            tables[name] += added
        outcomes.tables.clear()
    return Part(runs, {name: concatenate(COLLECTED[name], parts) for name, parts in tables.items()})


def with_columns(values: dict[str, Any], table: pa.Table) -> pa.Table:
    """Return the table with constant columns in front."""
    constant = {name: pa.repeat(value, len(table)) for name, value in values.items()}
    return pa.table({**constant, **{name: table[name] for name in table.column_names}})


def concatenate(name: str, parts: Iterable[pa.Table]) -> pa.Table:
    """Return the parts as one table with the columns of the table `name`."""
    kind = schema(name).remove_metadata()
    parts = [part.select(kind.names).replace_schema_metadata(None) for part in parts if len(part)]
    typed = [part if part.schema.equals(kind) else part.cast(kind) for part in parts]
    return pa.concat_tables(typed) if typed else kind.empty_table()
