"""Weights on disk: of a backbone all of them, of a method those that were trained."""

from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from kinetext.backbones.architecture import read_architecture
from kinetext.backbones.base import Backbone
from kinetext.core import plugins
from kinetext.core.files import atomic_write
from kinetext.core.tensors import load_tensors, save_tensors


def save_trained(model: nn.Module, path: Path, header: dict[str, Any]) -> None:
    """Write the parameters of a method that were trained; the others are the backbone's."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    save_tensors({name: p for name, p in trained.items() if not name.startswith("loss_terms.")}, path, header)


def load_trained(model: nn.Module, path: Path) -> dict[str, Any]:
    """Load trained parameters into a method; return the file's header. Raises ValueError for a name or shape that does not fit."""
    tensors, header = load_tensors(path)
    parameters = dict(model.named_parameters())
    for name, tensor in tensors.items():
        if name not in parameters or parameters[name].shape != tensor.shape:
            raise ValueError(f"{path}: parameter {name} {tuple(tensor.shape)} does not fit this method; train it again")
        with torch.no_grad():
            parameters[name].copy_(tensor)
    return header


def save_backbone(backbone: Backbone, folder: Path, source: dict[str, Any], module: str | None = None) -> None:
    """Write backbones/{name}/: weights.safetensors and backbone.yaml.

    `module` is the plug-in's name as the configuration has it; by default the family's own.
    """
    save_tensors(backbone.stored_tensors(), folder / "weights.safetensors", source)
    content = {
        "module": module or type(backbone).__module__.removeprefix("kinetext.backbones."),
        **backbone.architecture(),
        "context_length": backbone.context_length,
        "source": source,
    }
    with atomic_write(folder / "backbone.yaml") as part:
        part.write_text(yaml.safe_dump(content, sort_keys=False))


def load_backbone(folder: Path) -> Backbone:
    """Return the backbone of backbones/{name}/ in float32 and evaluation mode."""
    content = read_architecture(folder)
    backbone = plugins.load("backbones", content["module"]).rebuild(content)
    tensors, _ = load_tensors(folder / "weights.safetensors")
    backbone.restore(tensors)
    return backbone.float().eval()
