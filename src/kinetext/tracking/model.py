"""Write a run as a model for `mlflow.pyfunc.load_model`: run.yaml, checkpoint and texts, with or without the backbone.

The files are safetensors, Parquet, JSON and YAML, without pickle. The code of the model is served.py.
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

# imported when a model is loaded and used, beside kinetext itself; MLflow would need a process and a network to infer them
PACKAGES = (
    *("av", "mlflow", "numpy", "open_clip_torch", "pandas", "pillow", "pyarrow", "pydantic", "pyyaml"),
    *("safetensors", "simplejpeg", "torch", "torchvision", "tqdm"),
)


def skip_reason(run: Path, options: TrackingOptions) -> str | None:
    """Return why the model of a run folder is not logged, or None if it is logged."""
    if options.models == "none":
        return "tracking.models is none"
    try:
        files = find_run_files(run)
    except ValueError as error:
        return str(error)
    size_mib = sum(path.stat().st_size for path in _large_files(files, options)) / 2**20
    if size_mib > options.max_model_mib:
        return f"it has {size_mib:.0f} MiB, more than tracking.max_model_mib: {options.max_model_mib}"
    return None


def save_model(run: Path, options: TrackingOptions, folder: Path) -> None:
    """Write the model of a run folder to `folder`/model. The files that it contains are linked in `folder`/run."""
    import mlflow

    files, artifacts = find_run_files(run), folder / "run"
    artifacts.mkdir(parents=True)
    for path in _large_files(files, options):
        target = artifacts / "backbone" / path.name if path.parent == files.backbone else artifacts / path.name
        target.parent.mkdir(exist_ok=True)
        link(path, target)
    texts = read_table("texts", files.texts)
    texts = texts.filter(pc.is_in(texts["label"], pa.array(files.labels, pa.string())))
    pq.write_table(texts, artifacts / "texts.parquet")
    metadata: dict[str, Any] = {
        "labels": files.labels,
        "captions": files.captions,
        "backbone": str(files.backbone.resolve()),
    }
    metadata |= {"calibration": files.calibration.document(), "multi_label": files.multi_label}
    metadata["backbone.yaml"] = (files.backbone / "backbone.yaml").read_text()  # to recognise a replaced backbone
    (artifacts / "parts.json").write_text(json.dumps(metadata))
    mlflow.pyfunc.save_model(
        folder / "model",
        python_model=Path(__file__).with_name("served.py"),
        artifacts={"run": str(artifacts)},
        signature=_signature(),
        pip_requirements=[f"{name}=={version(name)}" for name in PACKAGES],
    )


def _signature() -> Any:
    """Return MLflow's description of the model: input columns, output columns and the parameter `top`."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    strings = {name: ColSpec("string", name, required=name == "path") for name in ("path", "label", "error")}
    inputs: list[Any] = [strings["path"], *(ColSpec("double", name, required=False) for name in ("start_s", "end_s"))]
    types = {"rank": "long", "score": "double", "share": "double", "calibrated": "boolean"}
    outputs: list[Any] = [strings.get(name) or ColSpec(types[name], name, required=False) for name in ANSWER_COLUMNS]
    return ModelSignature(Schema(inputs), Schema(outputs), ParamSchema([ParamSpec("top", "long", 5)]))


def _large_files(files: RunFiles, options: TrackingOptions) -> list[Path]:
    """Return the files that a model contains unchanged: run.yaml, the checkpoint and, if requested, the backbone."""
    paths = [files.run, *([files.checkpoint] if files.checkpoint else [])]
    return paths + (sorted(files.backbone.iterdir()) if options.models == "whole" else [])


def link(path: Path, target: Path) -> None:
    """Create a hard link `target` to a file, or copy the file if the target is on another file system."""
    try:
        os.link(path.resolve(), target)
    except OSError:
        shutil.copyfile(path, target)
