"""Weights on disk: of a method what was trained, of a backbone all.

Of the small CLIP's 49 408 word embeddings only the rows that its captions use were trained; the file holds those rows,
the others are drawn anew from a fixed seed when it is read.
"""

from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from kinetext.backbones.open_clip_vit import Architecture, Backbone
from kinetext.core.files import atomic_write
from kinetext.core.tensors import load_tensors, save_tensors

_EMBEDDING = "token_embedding.weight"


def save_trained(model: nn.Module, path: Path, header: dict[str, Any]) -> None:
    """The parameters of a method that were trained; the rest is the backbone's."""
    save_tensors({name: p for name, p in model.named_parameters() if p.requires_grad}, path, header)


def load_trained(model: nn.Module, path: Path) -> dict[str, Any]:
    """Put trained parameters back and give the header. Raises ValueError for a name or shape that does not fit."""
    tensors, header = load_tensors(path)
    own = dict(model.named_parameters())
    for name, tensor in tensors.items():
        if name not in own or own[name].shape != tensor.shape:
            raise ValueError(f"{path}: parameter {name} {tuple(tensor.shape)} does not fit this method; train it again")
        with torch.no_grad():
            own[name].copy_(tensor)
    return header


def save_backbone(backbone: Backbone, folder: Path, source: dict[str, Any], rows: Tensor | None = None) -> None:
    """Write backbones/{name}/: weights.safetensors and backbone.yaml. With `rows` only those word embeddings are kept,
    and everything in half precision.
    """
    tensors = dict(backbone.clip.state_dict())
    if rows is not None:
        tensors["token_rows"] = rows.to(torch.int32)
        tensors[_EMBEDDING] = tensors[_EMBEDDING][rows]
        tensors = {k: t.half() if t.is_floating_point() else t for k, t in tensors.items()}
    save_tensors(tensors, folder / "weights.safetensors", source)
    pixels = {"mean": backbone.mean_C.tolist(), "std": backbone.std_C.tolist()}
    about = {
        "model": backbone.architecture.model,
        "quick_gelu": backbone.architecture.quick_gelu,
        **pixels,
        "source": source,
    }
    with atomic_write(folder / "backbone.yaml") as part:
        part.write_text(yaml.safe_dump(about, sort_keys=False))


def load_backbone(folder: Path) -> Backbone:
    """The backbone of backbones/{name}/, in evaluation mode."""
    about = yaml.safe_load((folder / "backbone.yaml").read_text())
    backbone = Backbone(Architecture(about["model"], about["quick_gelu"], about.get("mean"), about.get("std")))
    tensors, _ = load_tensors(folder / "weights.safetensors")
    if "token_rows" in tensors:
        generator = torch.Generator().manual_seed(0)
        trained = tensors[_EMBEDDING].float()
        whole = torch.randn(backbone.clip.token_embedding.weight.shape, generator=generator) * trained.std()
        whole[tensors.pop("token_rows").long()] = trained
        tensors[_EMBEDDING] = whole
    backbone.clip.load_state_dict(tensors)
    return backbone.float().eval()
