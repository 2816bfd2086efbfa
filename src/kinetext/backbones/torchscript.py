"""Read the tensors of a TorchScript archive without running its code. OpenAI's original files (ViT-B-32.pt) are such
archives.

An archive of torch.jit.save is a zip. NAME/data.pkl is a pickled tree of modules, NAME/data/KEY holds the bytes of a
storage, and NAME/code holds the program (torch/csrc/jit/docs/serialization.md). The unpickler accepts only modules,
descriptions of tensors and plain values, so a pickle cannot run code.
"""

import io
import math
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

STORAGES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
MAX_ATTRIBUTES = 100_000  # modules may share modules: a small pickle could name very many
MAX_NAME = 1000  # characters; a module may contain itself


class Storage(NamedTuple):
    """The dtype of a storage and its key, the file name under NAME/data in the archive."""

    dtype: torch.dtype
    key: str


class Entry(NamedTuple):
    """The description of a tensor in the pickle. Offset and strides are in elements."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class Module:
    """A module of the archive. `state` holds the attributes by name."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class Rebuild:
    """The replacement of `torch._utils._rebuild_tensor_v2`, which returns an `Entry`."""

    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Entry:
        return Entry(storage, offset, size, stride)


class Plain:
    """The replacement of the functions in `torch.jit._pickle`, which mark list and dict types; returns its argument."""

    __slots__ = ()

    def __call__(self, value: Any, *rest: Any) -> Any:
        return value


class Unpickler(pickle.Unpickler):
    """Unpickle modules, descriptions of tensors and plain values. Raises UnpicklingError for any other class."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return type("Module", (Module,), {})  # a new class each time, so that no pickle changes another's
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return Rebuild()
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch.jit._pickle":
            return Plain()
        raise pickle.UnpicklingError(f"it names {module}.{name}, which could run code")

    def persistent_load(self, pid: Any) -> Storage:
        kind, dtype, key, *_ = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(key, str):
            raise pickle.UnpicklingError("it refers to something other than a storage")
        return Storage(dtype, key)


def is_torchscript(names: list[str]) -> bool:
    """Return whether file names of a zip are those of a TorchScript archive. torch.save writes no constants.pkl."""
    return any(name.endswith("/constants.pkl") for name in names) and any(name.endswith("/data.pkl") for name in names)


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Return the tensors of an archive of torch.jit.save, by their names in the module, without running its code.

    Attention masks are left out, because they are not weights. Raises UnpicklingError, ValueError, KeyError or another
    error if the archive is damaged or malicious.
    """
    with zipfile.ZipFile(path) as archive:
        (pickled,) = [name for name in archive.namelist() if name.endswith("/data.pkl") and name.count("/") == 1]
        folder = pickled.removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
            raise ValueError("its bytes are in big-endian order")
        root = _unpickle(archive.read(pickled))
        storages: dict[Storage, Tensor] = {}
        tensors = {}
        for name, entry in _entries(root):
            if entry.storage not in storages:
                content = bytearray(archive.read(f"{folder}data/{entry.storage.key}"))
                empty = torch.empty(0, dtype=entry.storage.dtype)
                storages[entry.storage] = torch.frombuffer(content, dtype=empty.dtype) if content else empty
            tensors[name] = _view(name, entry, storages[entry.storage])
    return tensors


def _unpickle(content: bytes) -> Any:
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in ("LONG_BINPUT", "PUT") and int(argument or 0) > len(content):  # the memo is an array
            raise pickle.UnpicklingError("it asks for more memory than it can need")
    return Unpickler(io.BytesIO(content)).load()


def _entries(root: Any) -> Iterator[tuple[str, Entry]]:
    stack, attributes = [("", root)], 0
    while stack:
        prefix, module = stack.pop()
        if len(prefix) > MAX_NAME:
            raise ValueError("its modules contain themselves")
        for name, value in (module.state or {}).items():
            attributes += 1
            if attributes > MAX_ATTRIBUTES:
                raise ValueError(f"it has more than {MAX_ATTRIBUTES} attributes")
            if isinstance(value, Module):
                stack.append((f"{prefix}{name}.", value))
            elif isinstance(value, Entry) and name != "attn_mask":
                yield f"{prefix}{name}", value


def _view(name: str, entry: Entry, storage: Tensor) -> Tensor:
    if math.prod(entry.size) > storage.numel():  # strides of 0 would make a small storage large
        raise ValueError(f"tensor {name} is larger than its storage")
    return storage.as_strided(entry.size, entry.stride, entry.offset)
