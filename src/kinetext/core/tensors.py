"""Read and write tensors as safetensors, with their origin and a hash in the header. Does not import open_clip."""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from kinetext.core.files import atomic_write


def save_tensors(tensors: dict[str, Tensor], path: Path, header: dict[str, Any]) -> None:
    """Write tensors as safetensors. The header holds the plain values of `header` and a hash of the tensors.

    `kinetext doctor` verifies the hash.
    """
    copies = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # one entry: safetensors writes several in an order that changes from process to process
    metadata = {"kinetext": json.dumps({**header, "hash": tensors_hash(copies, copies.__getitem__)})}
    with atomic_write(path) as part:
        save_file(copies, part, metadata)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of a safetensors file by name, and its header without the hash. The hash is not verified.

    Raises ValueError with the path if the file is damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            header = {key: value for key, value in _header(file).items() if key != "hash"}
            return {key: file.get_tensor(key) for key in file.keys()}, header  # noqa: SIM118 (no mapping)
    except Exception as error:
        raise ValueError(f"{path}: cannot be read as safetensors ({error}); delete it and run again") from error


def tensors_hash(names: Iterable[str], get_tensor: Callable[[str], Tensor]) -> str:
    """Return a hash of the name, type, shape and bytes of each tensor, in alphabetical order of the names.

    `get_tensor` is called for one tensor at a time, so that they need not all fit into memory.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(names):
        tensor = get_tensor(name)
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def hash_matches(path: Path) -> bool | None:
    """Return whether the tensors of a file match the hash in its header; None if the header has no hash.

    A file of an earlier version or of another program has no hash. Raises safetensors' errors if the file is damaged.
    """
    with safe_open(path, "pt") as file:
        expected = _header(file).get("hash")
        return None if expected is None else tensors_hash(file.keys(), file.get_tensor) == expected


def _header(file: Any) -> dict[str, Any]:
    return json.loads((file.metadata() or {}).get("kinetext", "{}"))
