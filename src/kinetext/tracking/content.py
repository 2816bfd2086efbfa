"""Read a run folder in the form in which MLflow stores it: tags, parameters, metrics with steps, data sets, files.

Nothing here imports MLflow. The `digest` of a run covers everything that is logged, so that an unchanged run is not
logged twice.
"""

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from kinetext.config.data import FrameOptions
from kinetext.core.documents import load_json, load_yaml
from kinetext.core.paths import LEVELS, RunPaths, find_run_paths
from kinetext.core.schemas import is_used
from kinetext.core.tables import READ_ERRORS, open_table, read_metadata, read_rows
from kinetext.data.images import frames_digest
from kinetext.data.splits import read_splits

LAYOUT = 4  # version of what is logged; a new number logs every run again
NEEDED = ("run.yaml", "metrics.parquet")
FILES = (*NEEDED, "curves.parquet", "cost.json", "profile.json")
NAMES = ("run", *(level for level in LEVELS if level != "seed"))  # of a run, without its seed


class Point(NamedTuple):
    """One value of a metric, with its step and its time in milliseconds since 1970."""

    key: str
    value: float
    step: int
    time_ms: int


class InputTable(NamedTuple):
    """A table from which a run was computed. Its `role` is splits, frames or texts."""

    role: str
    name: str
    digest: str
    source: Path
    profile: dict[str, Any]


@dataclass(frozen=True)
class Run:
    """The content of a measured run folder."""

    folder: Path
    spec: dict[str, Any]  # not a RunSpec: a run.yaml of an earlier version can be logged
    metrics: list[dict[str, Any]]
    cost: dict[str, Any]

    @property
    def name(self) -> str:
        """The name of the run: {dataset}/{protocol}/{backbone}/{method}/{texts}/seed{n}."""
        return self.spec["run"]

    @property
    def group(self) -> str:
        """The name of the run without its seed."""
        return self.name.rsplit("/seed", 1)[0]

    @property
    def paths(self) -> RunPaths | None:
        """The paths of the run's input files; None if the run folder is outside a results folder."""
        return find_run_paths(self.folder, self.name)

    @property
    def results(self) -> str:
        """The path of the results folder. As a tag it distinguishes runs of several results folders in one store."""
        paths = self.paths
        return str(paths.results if paths else self.folder)

    @property
    def settings(self) -> str:
        """A hash of everything that defines the run except its seed. Only seeds with the same hash are averaged."""
        excluded = ("run", "seed", "fingerprint", "trained_on", "trained_fingerprint")
        rest = {key: value for key, value in self.spec.items() if key not in excluded}
        return hashlib.sha256(json.dumps(rest, sort_keys=True, default=str).encode()).hexdigest()

    @property
    def experiment(self) -> str:
        """The name of the MLflow experiment, "{task}/{dataset}"."""
        captions = any(row["metric"].startswith(("t2v_", "v2t_")) for row in self.metrics)
        return experiment_name(self.spec["dataset"], captions)

    @property
    def input_paths(self) -> dict[str, Path]:
        """The paths of the run's splits, texts and frames that exist: role -> path."""
        paths = self.paths
        if paths is None:
            return {}
        frame_set = FrameOptions(**self.spec["dataset_options"].get("frames", {})).frame_set
        roles = {"splits": paths.splits, "texts": paths.texts, "frames": paths.frames / frame_set}
        return {role: path for role, path in roles.items() if path.exists()}

    def digest(self, *options: Any) -> str:
        """Return the sha256 of everything that is logged, and of `options`.

        Large files are left out, because the metrics change with them: predictions, checkpoint and frames.
        """
        digest = hashlib.sha256(json.dumps([LAYOUT, *options]).encode())
        inputs = self.input_paths
        for path in (*(self.folder / name for name in FILES), inputs.get("splits"), inputs.get("texts")):
            if path is not None and path.is_file():
                digest.update(path.name.encode() + b"\0" + file_digest(path).encode())
        return digest.hexdigest()

    def tags(self) -> dict[str, str]:
        """Return the tags of the run, by which MLflow can search."""
        commit = str(self.cost.get("commit") or (self.metrics[0]["commit"] if self.metrics else None))
        tags = {key: str(self.spec[key]) for key in (*NAMES, "seed", "fingerprint")} | {"results": self.results}
        return {**tags, "commit": commit, "mlflow.source.name": "kinetext", "mlflow.source.git.commit": commit}

    def params(self) -> dict[str, str]:
        """Return everything that defines the run, and its cost: dotted key -> value."""
        return {_key(key): str(value)[:6000] for key, value in _flat({**self.spec, "cost": self.cost}).items()}

    def times_ms(self) -> tuple[int, int]:
        """Return the begin and the end of the run in milliseconds since 1970.

        The end is the time at which the run was measured; the begin is earlier by the duration of the training.
        """
        end_s = (self.folder / "metrics.parquet").stat().st_mtime
        return round(1000 * (end_s - (self.cost.get("train_seconds") or 0.0))), round(1000 * end_s)

    def points(self) -> Iterator[Point]:
        """Yield the metrics with the ends of their intervals, the calibrated temperature, and the curves."""
        at_ms = self.times_ms()[1]
        for row in self.metrics:
            if is_logged(row):
                for end, column in (("", "value"), (".low", "low"), (".high", "high")):
                    if is_number(row[column]):
                        yield Point(metric_key(row) + end, row[column], 0, at_ms)
        predictions = self.folder / "predictions.parquet"
        calibration = read_metadata(predictions).get("calibration") if predictions.is_file() else None
        if calibration is not None and calibration["reason"] is None:
            yield Point("calibration/temperature", calibration["temperature"], 0, at_ms)
        for row in _rows(self.folder / "curves.parquet"):
            if is_number(row["value"]):  # the loss of a diverged training may not be finite
                yield Point(f"train/{row['metric']}", row["value"], row["epoch"], at_ms)

    def inputs(self) -> list[InputTable]:
        """Return the tables from which the run was computed."""
        spec, tables = self.spec, []
        for role, path in self.input_paths.items():
            if role == "frames":
                name, shards = f"{spec['dataset']}/frames", tuple(sorted(path.glob("*.arrow")))
                tables.append(
                    InputTable(role, name, _frames_digest(shards), path, spec["dataset_options"].get("frames", {}))
                )
            elif role == "splits":
                name, splits = f"{spec['dataset']}/{spec['protocol']}", read_splits(path)
                profile = {split: len(part.rows) for split, part in splits.items()}
                tables.append(InputTable(role, name, file_digest(path)[:32], path, {"clips": profile}))
            else:
                name = f"{spec['dataset']}/{spec['protocol']}/{spec['backbone']}/{spec['texts']}"
                kinds = Counter(row["kind"] for row in read_rows("texts", path) if is_used(row["status"]))
                tables.append(InputTable(role, name, file_digest(path)[:32], path, {"sentences": dict(kinds)}))
        return tables


def read_folder(folder: Path) -> Run:
    """Read a run folder.

    Raises ValueError if run.yaml or metrics.parquet is missing or unreadable, or if they differ in the run's
    fingerprint.
    """
    for name in NEEDED:
        if not (folder / name).is_file():
            raise ValueError(f"{folder}: {name} is missing; run `snakemake` to measure the run")
    spec = load_yaml(folder / "run.yaml")
    cost: dict[str, Any] = {}
    for name, values in (("cost.json", cost), ("profile.json", cost.setdefault("profile", {}))):
        if (folder / name).is_file():
            values |= load_json(folder / name)
    metrics, curves = read_rows("metrics", folder / "metrics.parquet"), folder / "curves.parquet"
    try:
        if curves.is_file():
            open_table(curves).close()
    except READ_ERRORS as error:
        raise ValueError(f"{curves}: cannot be read ({error}); delete it: the run needs no curves") from error
    if any(row["fingerprint"] not in (None, spec["fingerprint"]) for row in metrics[:1]):
        raise ValueError(f"{folder}: the metrics belong to an earlier plan of the run; run `snakemake` to measure it")
    return Run(folder.resolve(), spec, metrics, cost)


def experiment_name(dataset: str, captions: bool | None) -> str:
    """Return the name of the MLflow experiment of a data set. It holds the runs of all protocols."""
    return f"{'retrieval' if captions else 'recognition'}/{dataset}"


def metric_key(row: dict[str, Any]) -> str:
    """Return the name in MLflow of a row of the table `metrics`."""
    return _key(f"{row['split']}/{row['frame_order']}/{row['metric']}")


def is_logged(row: dict[str, Any]) -> bool:
    """Return whether a row of `metrics` is logged; rows about single pairs of classes are not, being too many."""
    return row["metric"].count(":") <= 1


def is_number(value: float | None) -> bool:
    """Return whether a value is finite, so that MLflow can plot it."""
    return value is not None and math.isfinite(value)


def _rows(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    with open_table(path) as file:
        return file.read().to_pylist()


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested dictionaries as one with dotted keys, because MLflow's parameters are flat."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _key(name: str) -> str:
    """Return a name with "_" in place of characters that MLflow does not accept."""
    return re.sub(r"[^\w\-./: ]", "_", name)


def file_digest(path: Path) -> str:
    """Return the sha256 of a file. It is cached, because many runs have the same texts and splits."""
    return _file_digest(path, path.stat().st_mtime_ns)


@cache
def _file_digest(path: Path, modified_ns: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@cache
def _frames_digest(shards: tuple[Path, ...]) -> str:
    return frames_digest(shards)
