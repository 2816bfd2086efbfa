"""The Python interface: runs, tables, backbones and methods. `kinetext` exports all of it (docs/python.md)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from kinetext.config.run import RunSpec, read_run
from kinetext.core import tables
from kinetext.core.collected import COLLECTED
from kinetext.core.plugins import nearest

if TYPE_CHECKING:  # torch and open_clip take seconds to import, and tables need neither
    from kinetext.backbones.base import Backbone
    from kinetext.evaluation.classify import VideoClassifier
    from kinetext.methods.base import Method

__all__ = ["Run", "build_method", "check_config", "load_backbone", "load_run", "read_table"]

PREDICTED = pa.schema(
    [
        pa.field("clip", pa.string(), metadata={"meaning": "path of the video"}),
        pa.field("rank", pa.int32(), metadata={"meaning": "1 for the most likely label"}),
        pa.field("label", pa.string(), metadata={"meaning": "class or caption"}),
        pa.field("share", pa.float64(), metadata={"meaning": "softmax of the score over all labels"}),
        pa.field("calibrated", pa.bool_(), metadata={"meaning": "whether shares are fitted to validation clips"}),
        pa.field("score", pa.float64(), metadata={"meaning": "score as in predictions.parquet"}),
        pa.field("error", pa.string(), metadata={"meaning": "why the video has no frames; null otherwise"}),
    ]
)


class Run:
    """A run, read from its folder: its specification, its tables, and predictions for new videos."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.spec: RunSpec = read_run(self.folder / "run.yaml")

    def __repr__(self) -> str:
        return f"Run({self.spec.run!r})"

    def predict(self, videos: Iterable[str | Path], top: int = 5) -> pa.Table:
        """Return the `top` most likely labels of each video, one row per label.

        The columns are clip, rank, label, share (softmax of the scores), calibrated, score and error. Frames are chosen
        and resized as in the run. A video that cannot be read has one row, with the error and no label. The model is
        loaded at the first call. Raises ValueError if a file of the run is missing.
        """
        rows = [
            {"clip": row["path"], **{name: row[name] for name in PREDICTED.names[1:]}}
            for video in videos
            for row in self._classifier.top_labels(video, top=top)
        ]
        return pa.Table.from_pylist(rows, PREDICTED)

    def metrics(self) -> pa.Table:
        """Return metrics.parquet: the value of each metric with its interval."""
        return self._table("metrics")

    def predictions(self) -> pa.Table:
        """Return predictions.parquet: the scores of each test clip for every label."""
        return self._table("predictions")

    def curves(self) -> pa.Table:
        """Return curves.parquet, with the columns epoch, metric and value.

        The metrics are the loss, the learning rate and the validation metrics.
        """
        with pq.ParquetFile(_existing(self.folder / "curves.parquet"), page_checksum_verification=True) as file:
            return file.read()

    def _table(self, name: str) -> pa.Table:
        return tables.read_table(name, _existing(self.folder / f"{name}.parquet"))

    @cached_property
    def _classifier(self) -> VideoClassifier:
        from kinetext.evaluation.classify import VideoClassifier
        from kinetext.evaluation.run_files import find_run_files

        return VideoClassifier(find_run_files(self.folder))


def load_run(folder: str | Path) -> Run:
    """Load a run folder. Raises ValueError if run.yaml is missing or invalid."""
    return Run(folder)


def read_table(name: str, results: str | Path = "results") -> pa.Table:
    """Return a table of all runs in a results folder, for instance metrics, runs, texts, confusions, costs or
    differences.

    `kinetext.core.collected.COLLECTED` lists the tables. Raises ValueError for an unknown table, and if the results
    folder does not have the table yet.
    """
    if name not in COLLECTED:
        raise ValueError(f"there is no table '{name}'{nearest(name, list(COLLECTED))}")
    return tables.read_table(COLLECTED[name], _existing(Path(results) / "tables" / f"{name}.parquet"))


def check_config(config: str | Path = "config.yaml") -> list[RunSpec]:
    """Check a config.yaml and return the runs that it plans.

    Raises ValueError with the wrong key, its value and the most similar valid one.
    """
    from kinetext.plan import load_config, plan_runs

    return list(plan_runs(load_config(Path(config))).values())


def load_backbone(model: str | Path, *, pretrained: str | None = None, weights: str | Path | None = None) -> Backbone:
    """Return an image-text model in evaluation mode.

    `model` is the folder of a prepared backbone, or the name of an architecture in open_clip. An architecture needs
    either `weights` (a file, a folder in the layout of the Hugging Face hub, or hf-hub:owner/name) or `pretrained`
    (open_clip's tag of published weights, which are downloaded). kinetext-tiny needs neither. Raises ValueError for an
    unknown model or tag, and for weights that do not fit the model.
    """
    from kinetext.backbones.checkpoint import load_backbone as load_prepared
    from kinetext.backbones.embed import make_backbone
    from kinetext.config.backbone import BackboneOptions

    if (Path(model) / "backbone.yaml").is_file():
        return load_prepared(Path(model))
    file = None if weights is None else str(weights)
    return make_backbone(BackboneOptions(model=str(model), pretrained=pretrained, weights=file)).eval()


def build_method(name: str, backbone: Backbone, **options: object) -> Method:
    """Return a method that uses a backbone; `options` are those of the method's `Config`.

    The method may change the backbone, so load a new backbone for each method. Raises ValueError for an unknown method
    or option.
    """
    from kinetext.methods.base import build_method as build

    return build(backbone, name, options)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file; run the workflow first")
    return path
