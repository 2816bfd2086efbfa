"""A backbone on disk: backbones/{name}/weights.safetensors and backbone.yaml."""

from pathlib import Path
from typing import Any

import yaml

from kinetext.backbones.architecture import read_architecture
from kinetext.backbones.base import Backbone
from kinetext.core import plugins
from kinetext.core.files import atomic_write
from kinetext.core.tensors import load_tensors, save_tensors


def save_backbone(backbone: Backbone, folder: Path, source: dict[str, Any], module: str | None = None) -> None:
    """Write weights.safetensors and backbone.yaml to `folder`.

    `source` is the origin of the weights. `module` is the name of the plug-in in the configuration; the default is the
    module of the backbone's class.
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
    """Return the backbone that `save_backbone` wrote to `folder`, in float32 and evaluation mode."""
    content = read_architecture(folder)
    backbone = plugins.load("backbones", content["module"]).rebuild(content)
    tensors, _ = load_tensors(folder / "weights.safetensors")
    backbone.restore(tensors)
    return backbone.float().eval()
