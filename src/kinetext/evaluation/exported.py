"""Classifiers that are read from an exported model (export_model.py), without a results folder."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kinetext.backbones.text_table import names_as_descriptions, tabulate_texts
from kinetext.backbones.text_tokens import tensors_of_folder
from kinetext.config.data import FrameOptions
from kinetext.config.run import ViewOptions
from kinetext.core import distributed, plugins
from kinetext.core.documents import load_json
from kinetext.core.tensors import load_tensors
from kinetext.evaluation.calibration import read_calibration
from kinetext.evaluation.classifier import Classifier, MethodClassifier
from kinetext.evaluation.export_model import DESCRIPTION
from kinetext.evaluation.onnx_session import open_session, run_session
from kinetext.methods.base import build_method


class OnnxClassifier(Classifier):
    """A classifier that runs model.onnx with onnxruntime."""

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        self.session = open_session(path)

    def score_frames(self, frames_VTCHW: Tensor) -> Tensor:
        return torch.from_numpy(run_session(self.session, np.ascontiguousarray(frames_VTCHW.numpy())))


class WeightsClassifier(MethodClassifier):
    """A classifier of exported weights: zero_shot with the texts of the run."""

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        if not content["labels"]:
            raise ValueError(f"{path}: is the model of a run with captions, which has no classes; classify with --run")
        self.device = distributed.device()
        backbone = plugins.load("backbones", content["backbone"]["module"]).rebuild(content["backbone"])
        backbone.restore(load_tensors(path)[0] | tensors_of_folder(path.parent))
        method = build_method(backbone, "zero_shot", {})
        if content["label_threshold"] is not None:
            method.add_label_threshold()
            assert method.label_threshold is not None
            method.label_threshold.data.fill_(content["label_threshold"])
        self.method = method.to(self.device).eval().requires_grad_(False)
        rows, labels, where = content["texts"], content["labels"], str(path.parent / DESCRIPTION)
        rows = rows + names_as_descriptions(rows, labels, where)
        self.encode_texts(tabulate_texts(rows, labels, backbone, where))


def load_exported(path: Path) -> Classifier:
    """Load the classifier of an exported folder, or of a file in it.

    Raises ValueError if kinetext.json or the model is missing or damaged.
    """
    folder = path if path.is_dir() else path.parent
    description = folder / DESCRIPTION
    if not path.exists() or not description.is_file():
        missing = description if path.exists() else path
        raise ValueError(f"{missing}: is missing; `kinetext export` writes a folder with the model and {DESCRIPTION}")
    content = load_json(description)
    try:
        model = folder / content["file"]
        if not model.is_file():
            raise ValueError(f"{model}: is missing; export the run again")
        classifier = {"onnx": OnnxClassifier, "open_clip": WeightsClassifier}[content["format"]](model, content)
        classifier.frames, classifier.views = FrameOptions(**content["frames"]), ViewOptions(**content["views"])
        classifier.names, classifier.calibration = content["labels"], read_calibration(content["calibration"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{description}: is no description of an exported model ({error}); export it again") from None
    return classifier
