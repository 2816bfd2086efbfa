"""Write the trained model of a run for use without its results folder: `kinetext export`.

`onnx` writes the video classifier with the features of its class texts. The normalisation of pixels is part of the
model. `open_clip` writes the weights of an image-text model, if the result of the run is nothing more: zero_shot, and
mean_pool with its LoRA merged or its weights interpolated with the pretrained ones. kinetext.json beside the model has
the labels, the texts, the choice of frames and the calibration. `kinetext classify --model` reads it (exported.py).

V views, T frames, C channels, H, W pixels, K classes.
"""

import json
import shutil
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from kinetext.backbones.hub_folder import WEIGHTS
from kinetext.backbones.text_table import read_texts
from kinetext.config.run import RunSpec, read_run
from kinetext.core.documents import load_json
from kinetext.core.schemas import is_used
from kinetext.core.tables import read_rows
from kinetext.evaluation.onnx_session import open_session, require_onnx, run_session
from kinetext.evaluation.run_files import RunFiles, find_run_files
from kinetext.evaluation.scores import load_method
from kinetext.methods.base import Method, configure_method

FORMATS = ("onnx", "open_clip")
ONNX, DESCRIPTION = "model.onnx", "kinetext.json"
TOLERANCE = 1e-4  # of the scores, as a share of the largest score


class OnnxModule(nn.Module):
    """A method with encoded class texts: uint8 frames [V, T, C, H, W] to scores [V, K]."""

    def __init__(self, method: Method, text: Any) -> None:
        super().__init__()
        self.method, self.text = method, text

    def forward(self, frames: Tensor) -> Tensor:
        """Return the scores [V, K]."""
        video = self.method.encode_video(frames)
        return self.method.label_logits(self.method.score(video, self.text)).float()


def export_model(run: Path, form: Literal["onnx", "open_clip"], output: Path) -> str:
    """Write the model of a run folder to the new folder `output`, and return a sentence about it.

    Raises ValueError if `output` exists, if a file of the run is missing, if onnx is not installed, or if the result of
    the run does not have this form.
    """
    if output.exists():
        raise ValueError(f"{output}: exists already; choose a new folder for the exported model")
    if form == "onnx":
        require_onnx()
    files = find_run_files(run)
    spec = read_run(files.run)
    method_class, _ = configure_method(spec.method_module, spec.method_options)
    if files.checkpoint is None and method_class.trains and spec.training.epochs:
        raise ValueError(f"{run}: {spec.method} is not trained yet; run `snakemake` first")
    if form == "open_clip" and not method_class.plain:
        raise ValueError(
            f"{run}: the result of {spec.method} is more than the weights of an image-text model; take --format onnx, or a run "
            "of mean_pool"
        )
    if form == "onnx" and files.captions:
        raise ValueError(f"{run}: has captions and no classes, so it is no classifier; take --format open_clip")
    method = load_method(spec, files.backbone, files.checkpoint, torch.device("cpu"), files.multi_label)
    write = _write_onnx if form == "onnx" else _write_open_clip
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as parent:
        folder = Path(parent) / output.name
        folder.mkdir()
        details, sentence = write(method, spec, files, folder)
        content = {"format": form, **_description(method, spec, files), **details}
        (folder / DESCRIPTION).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        shutil.move(folder, output)
    return f"{output}: {sentence}"


def _description(method: Method, spec: RunSpec, files: RunFiles) -> dict[str, Any]:
    """Return what both formats have in kinetext.json."""
    return {
        "run": spec.run,
        "fingerprint": spec.fingerprint,
        "labels": [] if files.captions else files.labels,
        "frames": spec.frame_options.model_dump(mode="json"),
        "views": spec.view_options.model_dump(mode="json"),
        "pixels": {"image_size_px": method.backbone.image_size_px, **asdict(method.backbone.preprocess)},
        "calibration": replace(files.calibration, odds=files.multi_label).document(),
    }


def _write_open_clip(method: Method, spec: RunSpec, files: RunFiles, folder: Path) -> tuple[dict[str, Any], str]:
    backbone = method.backbone
    backbone.export(folder)
    threshold = method.label_threshold
    module = type(backbone).__module__.removeprefix("kinetext.backbones.")
    wanted = set() if files.captions else set(files.labels)
    rows = [row for row in read_rows("texts", files.texts) if is_used(row["status"]) and row["label"] in wanted]
    columns = ("label", "kind", "position", "rival", "sentence")  # what `tabulate_texts` reads
    details = {
        "file": WEIGHTS,
        "backbone": {"module": module, **backbone.architecture()},
        "texts": [{name: row.get(name) for name in columns} for row in rows],
        "label_threshold": None if threshold is None else float(threshold),
    }
    config = folder / "config.json"
    others = f" and transformers.{load_json(config)['architectures'][0]}" if config.is_file() else ""
    return details, f"weights for open_clip (local-dir:{folder.name}){others}, and {DESCRIPTION}"


def _write_onnx(method: Method, spec: RunSpec, files: RunFiles, folder: Path) -> tuple[dict[str, Any], str]:
    size, T = method.backbone.image_size_px, spec.num_frames or spec.frame_options.num_frames
    with torch.no_grad():
        text = method.encode_texts(read_texts(files.texts, files.labels, method.backbone))
    module = OnnxModule(method, text).eval()
    generator = torch.Generator().manual_seed(0)
    frames_VTCHW = torch.randint(256, (2, T, 3, size, size), dtype=torch.uint8, generator=generator)
    difference = write_onnx(module, frames_VTCHW, folder / ONNX)
    shape = ["clips", T, 3, size, size]
    inputs = {"name": "frames", "type": "uint8", "shape": shape, "channels": "RGB", "range": [0, 255]}
    details = {
        "file": ONNX,
        "input": inputs,
        "output": {"name": "scores", "type": "float32", "shape": ["clips", len(files.labels)]},
        "largest_difference": difference,
    }
    return details, f"{ONNX} for {len(files.labels)} classes, within {difference:.1e} of torch, and {DESCRIPTION}"


def write_onnx(module: nn.Module, frames_VTCHW: Tensor, path: Path) -> float:
    """Write a module from frames to scores as ONNX; return the largest difference of scores between onnxruntime and torch.

    The number of clips V is free. Raises ValueError if the module cannot be exported, or if scores differ by more than
    TOLERANCE of the largest one.
    """
    clips = torch.export.Dim("clips", min=1)
    try:
        with torch.no_grad():
            program = torch.onnx.export(
                module,
                (frames_VTCHW,),
                dynamo=True,
                input_names=["frames"],
                output_names=["scores"],
                dynamic_shapes={"frames": {0: clips}},
                verbose=False,
            )
    except Exception as error:  # torch.export raises errors of many classes
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"export: torch cannot write this method as ONNX ({reason}); take another method") from error
    assert program is not None
    program.save(str(path))
    session = open_session(path)
    if isinstance(clips_at_once := session.get_inputs()[0].shape[0], int):
        raise ValueError(
            f"export: torch writes this method for {clips_at_once} clips at once only; take another method"
        )
    difference = 0.0
    for part in (frames_VTCHW, frames_VTCHW[:1]):  # another number of clips
        with torch.no_grad():
            expected = module(part).numpy()
        measured = float(np.abs(run_session(session, part.numpy()) - expected).max())
        if not measured <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
            raise ValueError(
                f"export: onnxruntime's scores differ from torch's by {measured:.2g}; this is a fault: report it"
            )
        difference = max(difference, measured)
    return difference
