"""The tables of every run put together: `kinetext collect-metrics`. Each is declared in core/schemas.py.

- `metrics`, `curves`, `texts`: what lies beside the runs, in long form.
- `runs`, `costs`: one row a run: how it is defined, what it cost.
- `confusions`: which class's clips were taken for which (outcomes.py); `differences`: every row of a comparison less every
  other, tested on the same clips (differences.py, paired.py).

A thousand runs take seconds (benchmarks/collect.py): files are read once and stay Arrow and numpy columns.
"""

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from kinetext.config.run import RunSpec, read_run
from kinetext.core.schemas import COLLECTED, MEASURED_RULES, TRAINING_COSTS
from kinetext.core.tables import read_rows, read_table, schema, write_table
from kinetext.report.differences import difference_rows
from kinetext.report.outcomes import Outcomes

RUN = ("run", "dataset", "protocol", "backbone", "method", "texts", "seed")  # the columns that name a run


class Run(NamedTuple):
    """A run folder and what its run.yaml says."""

    folder: Path
    spec: RunSpec

    def names(self) -> dict[str, Any]:
        """The columns that name it."""
        return {column: getattr(self.spec, column) for column in RUN}

    def texts(self, results: Path) -> Path:
        """Its table of texts."""
        spec = self.spec
        return results / "data" / spec.dataset / spec.protocol / spec.backbone / "texts" / f"{spec.texts}.parquet"


def collect_metrics(folders: list[Path], results: Path, output: Path) -> None:
    """Read the run folders; write the tables COLLECTED into the folder `output`.

    Only files of the folders handed over are read, each once: what lies in results/ from an earlier configuration stays out. From
    the folder `results` come the runs' tables of texts and Snakemake's benchmarks; what is not there is null or left out.
    Raises ValueError if a run has not been measured.
    """
    unmeasured = [str(folder) for folder in folders if not (folder / "metrics.parquet").is_file()]
    if unmeasured:
        raise ValueError(f"{unmeasured[0]}: metrics.parquet is missing; run `kinetext measure-run` for it first")
    runs = [Run(folder, read_run(folder / "run.yaml")) for folder in dict.fromkeys(folders)]
    texts = {path: run.spec for run in runs if (path := run.texts(results)).is_file()}
    outcomes = Outcomes()
    speeds = [outcomes.add(run.spec, run.folder / "predictions.parquet") for run in runs]
    costs = [_cost_row(run, speed, results / "benchmarks") for run, speed in zip(runs, speeds, strict=True)]
    write_table("costs", costs, output / "costs.parquet")
    write_table("runs", [_run_row(run) for run in runs], output / "runs.parquet")
    write_table("collected_curves", _curves(runs), output / "curves.parquet")
    write_table("collected_texts", _texts(texts), output / "texts.parquet")
    write_table("confusions", _joined("confusions", outcomes.confusions), output / "confusions.parquet")
    write_table("differences", difference_rows(outcomes.comparisons), output / "differences.parquet")
    metrics = [read_table("metrics", run.folder / "metrics.parquet") for run in runs]
    write_table("metrics", _joined("metrics", metrics), output / "metrics.parquet")


def _run_row(run: Run) -> dict[str, Any]:
    """One row of the table `runs`."""
    spec = run.spec
    about = {"method_module": spec.method_module, "method_options": json.dumps(spec.method_options, sort_keys=True)}
    about |= {f"test_{key}": value for key, value in spec.testing.model_dump().items()}
    about |= {"training": spec.training.model_dump_json(), "fingerprint": spec.fingerprint}
    return {**run.names(), **about, "commit": _json(run.folder / "cost.json").get("commit")}


def _cost_row(run: Run, speed: float | None, benchmarks: Path) -> dict[str, Any]:
    """One row of the table `costs`."""
    trained = _json(run.folder / "cost.json")
    jobs: dict[str, float | None] = {}
    for rule in MEASURED_RULES:
        took = _benchmark(benchmarks / rule / f"{run.spec.run}.tsv")
        jobs |= {f"{rule}_s": took.get("s"), f"{rule}_mib": took.get("max_rss")}
    of_training = {name: trained.get(name) for name, _, _ in TRAINING_COSTS}
    return {**run.names(), **of_training, "predict_clips_per_s": speed, **jobs}


def _benchmark(path: Path) -> dict[str, float]:
    """The numbers of Snakemake's benchmark file; none where there is no file, or where a job was too short to be seen."""
    if not path.is_file():
        return {}
    with path.open() as file:
        row = next(csv.DictReader(file, delimiter="\t"), {})
    return {key: float(value) for key, value in row.items() if key in ("s", "max_rss") and _is_number(value)}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False  # "NA", "-"
    return True


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.is_file() else {}


def _curves(runs: Iterable[Run]) -> pa.Table:
    """The rows of the runs' curves.parquet; a run that did not train has none."""
    parts = []
    for run in runs:
        if (path := run.folder / "curves.parquet").is_file():
            with pq.ParquetFile(path) as file:
                parts.append(with_columns(run.names(), file.read()))
    return _joined("collected_curves", parts)


def _texts(texts: dict[Path, RunSpec]) -> pa.Table:
    """All tables of texts, each once."""
    keys = ("dataset", "protocol", "backbone", "texts")
    parts = [
        with_columns({k: getattr(spec, k) for k in keys}, read_table("texts", path)) for path, spec in texts.items()
    ]
    return _joined("collected_texts", parts)


def with_columns(values: dict[str, Any], table: pa.Table) -> pa.Table:
    """The table with columns before it that hold one value each."""
    constant = {name: pa.repeat(value, len(table)) for name, value in values.items()}
    return pa.table({**constant, **{name: table[name] for name in table.column_names}})


def _joined(name: str, parts: list[pa.Table]) -> pa.Table:
    """The parts under one another, as the table `name` declares its columns."""
    kind = schema(name).remove_metadata()
    parts = [part.select(kind.names).replace_schema_metadata(None).cast(kind) for part in parts if len(part)]
    return pa.concat_tables(parts) if parts else kind.empty_table()


def read_tables(tables: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows that the report reads of what `collect_metrics` wrote.

    Raises ValueError for tables of an earlier version, without tests or without backbones.
    """
    read = {file: read_rows(name, tables / f"{file}.parquet") for file, name in COLLECTED.items() if file != "texts"}
    if any(row["p"] is None or row["backbone"] is None for row in read["differences"]):
        raise ValueError(
            f"{tables}/differences.parquet: is of an earlier version; run `kinetext collect-metrics` again"
        )
    return read
