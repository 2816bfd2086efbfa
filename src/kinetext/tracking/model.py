"""A run as a model that `mlflow.pyfunc.load_model` loads: its run.yaml, its checkpoint, its texts, with or without the
backbone. safetensors and YAML, no pickle; the code that runs it is served.py.
"""

import json
import os
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from kinetext.config.report import TrackingOptions
from kinetext.core.tables import pq, read_table
from kinetext.evaluation.run_files import ANSWER_COLUMNS, RunFiles, find_run_files

# what loading a model and asking it imports, beside kinetext itself; working that out takes MLflow a process and a network
PACKAGES = (
    *("av", "mlflow", "numpy", "open_clip_torch", "pandas", "pillow", "pyarrow", "pydantic", "pyyaml"),
    *("safetensors", "simplejpeg", "torch", "torchvision", "tqdm"),
)


def why_not(run: Path, options: TrackingOptions) -> str | None:
    """Why a run's model is not logged; None if it is to be."""
    if options.models == "none":
        return "tracking.models is none"
    try:
        parts = find_run_files(run)
    except ValueError as error:
        return str(error)
    size_mib = sum(path.stat().st_size for path in _files(parts, options)) / 2**20
    if size_mib > options.max_model_mib:
        return f"it has {size_mib:.0f} MiB, more than tracking.max_model_mib: {options.max_model_mib}"
    return None


def save_model(run: Path, options: TrackingOptions, folder: Path) -> None:
    """Write the model of a run folder to the new folder `folder`/model."""
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    parts, made = find_run_files(run), folder / "run"
    made.mkdir(parents=True)
    for path in _files(parts, options):
        into = made / "backbone" / path.name if path.parent == parts.backbone else made / path.name
        into.parent.mkdir(exist_ok=True)
        link(path, into)
    texts = read_table("texts", parts.texts)
    pq.write_table(texts.filter(pc.is_in(texts["label"], pa.array(parts.labels, pa.string()))), made / "texts.parquet")
    about = {"labels": parts.labels, "captions": parts.captions, "backbone": str(parts.backbone.resolve())}
    about["backbone.yaml"] = (parts.backbone / "backbone.yaml").read_text()  # the folder may hold another one by then
    (made / "parts.json").write_text(json.dumps(about))
    strings = {name: ColSpec("string", name, required=name == "path") for name in ("path", "label", "error")}
    inputs: list[Any] = [strings["path"], *(ColSpec("double", name, required=False) for name in ("start_s", "end_s"))]
    kinds = {"rank": "long", "score": "double", "share": "double"}
    outputs: list[Any] = [strings.get(name) or ColSpec(kinds[name], name, required=False) for name in ANSWER_COLUMNS]
    mlflow.pyfunc.save_model(
        folder / "model",
        python_model=Path(__file__).with_name("served.py"),
        artifacts={"run": str(made)},
        signature=ModelSignature(Schema(inputs), Schema(outputs), ParamSchema([ParamSpec("top", "long", 5)])),
        pip_requirements=[f"{name}=={version(name)}" for name in PACKAGES],
    )


def _files(parts: RunFiles, options: TrackingOptions) -> list[Path]:
    """The files that go into a model as they are."""
    files = [parts.run, *([parts.checkpoint] if parts.checkpoint else [])]
    return files + (sorted(parts.backbone.iterdir()) if options.models == "whole" else [])


def link(path: Path, into: Path) -> None:
    """A second name for a file that may be large, or a copy on another file system."""
    try:
        os.link(path.resolve(), into)
    except OSError:
        shutil.copyfile(path, into)
