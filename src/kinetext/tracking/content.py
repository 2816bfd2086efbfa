"""What a run folder says, in the terms that MLflow has: tags, parameters, numbers with their steps, data sets, files.

Nothing here knows MLflow. A run's `digest` covers all that is logged of it, so that what is there already is left alone.
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

import yaml

from kinetext.config.data import FrameOptions
from kinetext.core.paths import Places, find_places
from kinetext.core.tables import pq, read_rows
from kinetext.data.frames import frames_digest
from kinetext.data.splits import read_splits

LAYOUT = 3  # what is logged how; a new number has every run logged again
NEEDED = ("run.yaml", "metrics.parquet")
FILES = (*NEEDED, "curves.parquet", "cost.json", "profile.json")
NAMES = ("run", "dataset", "protocol", "backbone", "method", "texts")  # a run's coordinates, but for its seed


class Point(NamedTuple):
    """A number: MLflow draws it over its step, or over the time, milliseconds since 1970."""

    key: str
    value: float
    step: int
    time_ms: int


class Data(NamedTuple):
    """A table that a run was made from; `role` is what it gave: splits, frames or texts."""

    role: str
    name: str
    digest: str
    source: Path
    profile: dict[str, Any]


@dataclass(frozen=True)
class Run:
    """A run folder that has been measured."""

    folder: Path
    spec: dict[str, Any]  # not a RunSpec: an older run.yaml is logged, too
    metrics: list[dict[str, Any]]
    cost: dict[str, Any]

    @property
    def name(self) -> str:
        """{dataset}/{protocol}/{backbone}/{method}/{texts}/seed{n}."""
        return self.spec["run"]

    @property
    def group(self) -> str:
        """The name without its seed: what the runs of all seeds have in common."""
        return self.name.rsplit("/seed", 1)[0]

    @property
    def places(self) -> Places | None:
        """What lies where in its results folder; None for a run folder that was taken out of one."""
        return find_places(self.folder, self.name)

    @property
    def results(self) -> str:
        """The results folder, a tag: two that are tracked in one place leave each other's runs alone."""
        places = self.places
        return str(places.results if places else self.folder)

    @property
    def settings(self) -> str:
        """A hash of all that defines the run but its seed: seeds with other settings are not averaged with these."""
        own = ("run", "seed", "fingerprint", "trained_on", "trained_fingerprint")
        rest = {key: value for key, value in self.spec.items() if key not in own}
        return hashlib.sha256(json.dumps(rest, sort_keys=True, default=str).encode()).hexdigest()

    @property
    def experiment(self) -> str:
        """The MLflow experiment: "{task}/{dataset}"."""
        captions = any(row["metric"].startswith(("t2v_", "v2t_")) for row in self.metrics)
        return experiment_name(self.spec["dataset"], captions)

    @property
    def made_from(self) -> dict[str, Path]:
        """Where the splits, the texts and the frames of the run lie, those of them that are there: role -> path."""
        places = self.places
        if places is None:
            return {}
        frame_set = FrameOptions(**self.spec["dataset_options"].get("frames", {})).frame_set
        roles = {"splits": places.splits, "texts": places.texts, "frames": places.frames / frame_set}
        return {role: path for role, path in roles.items() if path.exists()}

    def digest(self, *more: Any) -> str:
        """sha256 of what is logged of the run. Predictions, checkpoint and frames are spoken for by the metrics."""
        digest = hashlib.sha256(json.dumps([LAYOUT, *more]).encode())
        made_from = self.made_from
        for path in (*(self.folder / name for name in FILES), made_from.get("splits"), made_from.get("texts")):
            if path is not None and path.is_file():
                digest.update(path.name.encode() + b"\0" + file_digest(path).encode())
        return digest.hexdigest()

    def tags(self) -> dict[str, str]:
        """What runs are found by."""
        commit = str(self.cost.get("commit") or (self.metrics[0]["commit"] if self.metrics else None))
        tags = {key: str(self.spec[key]) for key in (*NAMES, "seed", "fingerprint")} | {"results": self.results}
        return {**tags, "commit": commit, "mlflow.source.name": "kinetext", "mlflow.source.git.commit": commit}

    def params(self) -> dict[str, str]:
        """All that defines the run, and what it cost, under dotted keys."""
        return {_key(key): str(value)[:6000] for key, value in _flat({**self.spec, "cost": self.cost}).items()}

    def times_ms(self) -> tuple[int, int]:
        """When the run began and ended: it was measured then, and trained for so long before."""
        end_s = (self.folder / "metrics.parquet").stat().st_mtime
        return round(1000 * (end_s - (self.cost.get("train_seconds") or 0.0))), round(1000 * end_s)

    def points(self) -> Iterator[Point]:
        """Every number: metrics with both ends of their interval over clips, and the curves."""
        at_ms = self.times_ms()[1]
        for row in self.metrics:
            if shown(row):
                for end, column in (("", "value"), (".low", "low"), (".high", "high")):
                    if is_number(row[column]):
                        yield Point(metric_key(row) + end, row[column], 0, at_ms)
        for row in _rows(self.folder / "curves.parquet"):
            if is_number(row["value"]):  # a diverged loss is none
                yield Point(f"train/{row['metric']}", row["value"], row["epoch"], at_ms)

    def data(self) -> list[Data]:
        """The tables that the run was made from."""
        spec, found = self.spec, []
        for role, path in self.made_from.items():
            if role == "frames":
                name, shards = f"{spec['dataset']}/frames", tuple(sorted(path.glob("*.arrow")))
                found.append(Data(role, name, _frames_digest(shards), path, spec["dataset_options"].get("frames", {})))
            elif role == "splits":
                name, splits = f"{spec['dataset']}/{spec['protocol']}", read_splits(path)
                profile = {split: len(part.rows) for split, part in splits.items()}
                found.append(Data(role, name, file_digest(path)[:32], path, {"clips": profile}))
            else:
                name = f"{spec['dataset']}/{spec['protocol']}/{spec['backbone']}/{spec['texts']}"
                kinds = Counter(row["kind"] for row in read_rows("texts", path) if row["status"] == "ok")
                found.append(Data(role, name, file_digest(path)[:32], path, {"sentences": dict(kinds)}))
        return found


def read_folder(folder: Path) -> Run:
    """The run of a run folder. Raises ValueError if run.yaml or metrics.parquet is missing, cannot be read, or is older
    than the other.
    """
    for name in NEEDED:
        if not (folder / name).is_file():
            raise ValueError(f"{folder}: {name} is missing; measure the run before it is logged")
    spec = yaml.safe_load((folder / "run.yaml").read_text())
    cost: dict[str, Any] = {}
    for name, found in (("cost.json", cost), ("profile.json", cost.setdefault("profile", {}))):
        if (folder / name).is_file():
            found |= json.loads((folder / name).read_text())
    metrics = read_rows("metrics", folder / "metrics.parquet")
    if any(row["fingerprint"] not in (None, spec["fingerprint"]) for row in metrics[:1]):
        raise ValueError(f"{folder}: was planned anew and is not measured yet; run `snakemake` first")
    return Run(folder.resolve(), spec, metrics, cost)


def experiment_name(dataset: str, captions: bool | None) -> str:
    """The experiment of a data set's runs; what is compared with each other is in one, a protocol is a tag."""
    return f"{'retrieval' if captions else 'recognition'}/{dataset}"


def metric_key(row: dict[str, Any]) -> str:
    """What a row of the table `metrics` is called in MLflow."""
    return _key(f"{row['split']}/{row['frame_order']}/{row['metric']}")


def shown(row: dict[str, Any]) -> bool:
    """Whether a row of `metrics` is logged: single pairs of classes are not, they would bury the rest."""
    return row["metric"].count(":") <= 1


def is_number(value: float | None) -> bool:
    """Whether MLflow can draw it."""
    return value is not None and math.isfinite(value)


def _rows(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    with pq.ParquetFile(path) as file:
        return file.read().to_pylist()


def _flat(values: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys, as MLflow's parameters are flat."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
    return found


def _key(name: str) -> str:
    """The name with nothing in it but what MLflow takes."""
    return re.sub(r"[^\w\-./: ]", "_", name)


def file_digest(path: Path) -> str:
    """sha256 of a file, read once: texts and splits are many runs' own."""
    return _file_digest(path, path.stat().st_mtime_ns)


@cache
def _file_digest(path: Path, changed_ns: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@cache
def _frames_digest(shards: tuple[Path, ...]) -> str:
    return frames_digest(shards)
