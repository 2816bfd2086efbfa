"""The checkpoint of a method: the trained parameters or the result of `fit`. All other weights are in the backbone."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kinetext.core.tensors import load_tensors, save_tensors
from kinetext.methods.base import Method


def save_trained(method: Method, path: Path, header: dict[str, Any]) -> None:
    """Write the trained or fitted parameters of a method with a header. Loss terms are left out."""
    tensors: dict[str, Tensor] = {name: p for name, p in method.named_parameters() if p.requires_grad}
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("loss_terms.")}
    save_tensors(method.fitted if method.fits else tensors, path, header)


def load_trained(method: Method, path: Path) -> dict[str, Any]:
    """Load a checkpoint into a method and return the header. Raises ValueError if a name or shape does not match."""
    tensors, header = load_tensors(path)
    if method.fits:
        method.fitted = tensors
        return header
    parameters = dict(method.named_parameters())
    for name, tensor in tensors.items():
        if name not in parameters or parameters[name].shape != tensor.shape:
            raise ValueError(f"{path}: parameter {name} {tuple(tensor.shape)} does not fit this method; train it again")
        with torch.no_grad():
            parameters[name].copy_(tensor)
    return header
