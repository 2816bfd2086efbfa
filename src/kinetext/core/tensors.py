"""Tensors on disk: safetensors, with what made them and a hash of them in the header. Apart from checkpoint.py, so that a
file can be looked at without open_clip.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from kinetext.core.files import written_whole


def save_tensors(tensors: dict[str, Tensor], path: Path, header: dict[str, Any]) -> None:
    """Write tensors with a header of plain values and their hash, which `kinetext doctor` compares."""
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # one entry: safetensors writes several in an order that changes from process to process
    about = {"kinetext": json.dumps({**header, "hash": tensors_hash(whole, whole.__getitem__)})}
    with written_whole(path) as part:
        save_file(whole, part, about)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the header as it was given; the hash is not worked out again. Raises ValueError with the path if the
    file is not whole.
    """
    try:
        with safe_open(path, "pt") as file:
            header = {key: value for key, value in _header(file).items() if key != "hash"}
            return {key: file.get_tensor(key) for key in file.keys()}, header  # noqa: SIM118 (no mapping)
    except Exception as error:
        raise ValueError(f"{path}: cannot be read as safetensors ({error}); delete it and run again") from error


def tensors_hash(names: Iterable[str], tensor: Callable[[str], Tensor]) -> str:
    """A hash of tensors: of each, in the order of names, its name, type, shape and bytes. They are asked for one by one."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(names):
        found = tensor(name)
        digest.update(f"{name} {found.dtype} {tuple(found.shape)} ".encode())
        digest.update(found.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def hash_holds(path: Path) -> bool | None:
    """Whether a file's tensors are those that were written; None for a file without a hash, of an earlier version or of
    someone else's. Raises safetensors' errors if it is not whole.
    """
    with safe_open(path, "pt") as file:
        said = _header(file).get("hash")
        return None if said is None else tensors_hash(file.keys(), file.get_tensor) == said


def _header(file: Any) -> dict[str, Any]:
    return json.loads((file.metadata() or {}).get("kinetext", "{}"))
