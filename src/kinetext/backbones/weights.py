"""Read weights of open_clip models. The format is recognised by the content of the file, and only tensors are read.

Formats: safetensors, checkpoints of torch.save (open_clip's training writes a `state_dict` whose names start with
`module.`), OpenAI's TorchScript files, folders of the Hugging Face hub in open_clip's layout, and `hf-hub:owner/name`.
"""

import pickle
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kinetext.backbones.download import HUB_FILES, hub_file
from kinetext.backbones.torchscript import is_torchscript, read_torchscript
from kinetext.config.backbone import HUB
from kinetext.core.documents import load_json
from kinetext.core.tensors import load_tensors

CONFIG = "open_clip_config.json"
EXPECTED = "expected are safetensors, a checkpoint of tensors (torch.save), or OpenAI's TorchScript file"
OPENAI_MARKS = ("input_resolution", "context_length", "vocab_size")  # integers among the tensors of OpenAI's files
SUPPORTED = {"interpolation": ("bicubic", "bilinear"), "resize_mode": ("shortest", "squash")}  # of preprocess_cfg
MAX_HEADER = 100_000_000  # bytes, the limit of safetensors
FORMATS = {
    b"\x93NUMPY": "a NumPy array",
    b"\x1f\x8b": "a gzip archive",
    b"\x89HDF": "an HDF5 file",
    b"version https://git-lfs": "a pointer of Git LFS and not the file itself (`git lfs pull` fetches it)",
}


@dataclass(frozen=True)
class Source:
    """A file of weights, with the GELU variant (None: unknown) and the preprocessing from the configuration beside it.

    `preprocess_cfg` is that of open_clip; it is empty for a file alone.
    """

    file: Path
    quick_gelu: bool | None = None
    preprocess_cfg: dict[str, Any] = field(default_factory=dict)


def missing(weights: str) -> str:
    """Return the reason why `weights` is not a file, a folder of the hub or hf-hub:owner/name, or "" if it is.

    The network is not used, so the existence of a name on the hub is not checked.
    """
    if weights.startswith(HUB):
        is_name = re.fullmatch(r"[\w.-]+/[\w.-]+", weights.removeprefix(HUB))
        return "" if is_name else f"{weights} is no name on the hub; write {HUB}owner/name"
    path = Path(weights)
    if path.is_dir() and not any((path / name).is_file() for name in HUB_FILES):
        content = ", ".join(sorted(entry.name for entry in path.iterdir())[:5]) or "nothing"
        return f"folder {path} holds neither {' nor '.join(HUB_FILES)} (found: {content})"
    return "" if path.exists() else f"there is no file {path}"


def find_weights(weights: str) -> Source:
    """Return the weights file for a file, a folder of the hub, or hf-hub:owner/name.

    Files of the hub are downloaded if they are not in the cache. Raises ValueError if there is no such file.
    """
    problem = missing(weights)
    if problem:
        raise ValueError(f"backbones: weights: {problem}")
    if weights.startswith(HUB):
        repository = weights.removeprefix(HUB)
        return _described(hub_file(repository, HUB_FILES), hub_file(repository, (CONFIG,)))
    path = Path(weights)
    if path.is_dir():
        file = next(path / name for name in HUB_FILES if (path / name).is_file())
        return _described(file, path / CONFIG)
    return Source(path)


def preprocess_cfg_of(weights: str | None) -> dict[str, Any]:
    """Return the `preprocess_cfg` that `find_weights` finds for these weights. It is empty for a file alone.

    The small configuration of a name on the hub is downloaded if it is not in the cache. Raises ValueError if it
    cannot be downloaded, is invalid, or asks for a preprocessing that is not supported.
    """
    if not weights or Path(weights).is_file():
        return {}
    if not weights.startswith(HUB):
        return find_weights(weights).preprocess_cfg
    try:
        config = hub_file(weights.removeprefix(HUB), (CONFIG,))
    except ValueError as error:  # the check of the configuration names the backbone
        raise ValueError(str(error).removeprefix("backbones: ")) from None
    return _described(config, config).preprocess_cfg


def _described(file: Path, config: Path) -> Source:
    """Return the source with the GELU variant and the preprocessing in `config` (open_clip_config.json).

    Raises ValueError if the file is missing, does not describe an open_clip model, or asks for a preprocessing that is
    not supported.
    """
    if not config.is_file():
        raise ValueError(
            f"backbones: weights: {file.parent} lacks {CONFIG}; give the file {file.name} itself, or add it"
        )
    content = load_json(config)
    try:
        quick_gelu, preprocess_cfg = (
            bool(content["model_cfg"].get("quick_gelu", False)),
            content.get("preprocess_cfg", {}),
        )
        for name in ("mean", "std"):
            _red, _green, _blue = map(float, preprocess_cfg.get(name) or (0, 0, 0))
        chosen = {name: preprocess_cfg.get(name) or None for name in SUPPORTED}
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ValueError(f"{config}: is no description of an open_clip model (model_cfg, preprocess_cfg)") from None
    for name, value in chosen.items():
        if value is not None and value not in SUPPORTED[name]:
            raise ValueError(
                f"{config}: the weights need {name}: {value}, and only {' and '.join(SUPPORTED[name])} are supported; take "
                "other weights"
            )
    return Source(file, quick_gelu, preprocess_cfg)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name. Floating-point tensors are converted to float32.

    The prefix `module.` of distributed training is removed. No code of the file is run. Raises ValueError if the file
    does not exist or cannot be read as tensors.
    """
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    tensors = _unwrapped(path, _content(path))
    while all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def is_openai(tensors: dict[str, Tensor]) -> bool:
    """Return whether the tensors are from a file published by OpenAI, whose models use the quick GELU."""
    return all(name in tensors for name in OPENAI_MARKS)


def load_into(clip: nn.Module, tensors: dict[str, Tensor], resize: Any) -> str:
    """Load tensors into a model of open_clip, and return "" or the reason why they do not fit.

    `resize` holds open_clip's functions that adapt position embeddings to another size (see `library.resizers`).
    """
    tensors = {name: tensor for name, tensor in tensors.items() if name not in OPENAI_MARKS}
    expected = clip.state_dict()
    for function in resize:
        try:
            function(tensors, clip)
        except (AssertionError, RuntimeError, IndexError):
            break  # another width, which is reported below
    for name in {"logit_scale", "logit_bias"} & tensors.keys() & expected.keys():  # a scalar, or a list of one
        if tensors[name].numel() == 1:
            tensors[name] = tensors[name].reshape(expected[name].shape)
    lacking, others = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    shapes = [name for name in expected.keys() & tensors.keys() if tensors[name].shape != expected[name].shape]
    if lacking:
        return f"it lacks {len(lacking)} tensors, such as {lacking[0]}"
    if others:
        return f"it has {len(others)} tensors more, such as {others[0]}"
    if shapes:
        name = min(shapes)
        return f"{name} is {tuple(tensors[name].shape)} and should be {tuple(expected[name].shape)}"
    clip.load_state_dict(tensors)
    return ""


def _content(path: Path) -> Any:
    with path.open("rb") as file:
        head = file.read(64)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= MAX_HEADER:
        return _reading(path, "safetensors", lambda file: load_tensors(file)[0])
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        names = _zip_names(path)
        if is_torchscript(names):
            return _reading(path, "a TorchScript archive", read_torchscript)
        if any(name.endswith("/data.pkl") for name in names):
            return _reading(path, "a checkpoint of torch.save", _torch_load)
        kind = "NumPy arrays (npz)" if any(name.endswith(".npy") for name in names) else "a zip archive of other files"
        raise ValueError(f"{path}: is {kind}; {EXPECTED}")
    if head.startswith(b"\x80"):
        return _reading(path, "a pickle", _torch_load)
    raise ValueError(f"{path}: is {_format(head)}; {EXPECTED}")


def _format(head: bytes) -> str:
    if not head:
        return "empty"
    known = next((name for start, name in FORMATS.items() if head.startswith(start)), "")
    if known:
        return known
    text = head[:20].decode("utf-8", "replace").rstrip("\ufffd")  # the last character may be cut
    is_text = bool(text) and all(c != "\ufffd" and (c.isprintable() or c.isspace()) for c in text)
    return f"text that begins with {text!r}" if is_text else "of no known format"


def _zip_names(path: Path) -> list[str]:
    """Return the file names in a zip.

    Raises ValueError if the zip is damaged, or if tensors are compressed or larger in total than the file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except Exception as error:  # a damaged file can raise anything
        raise ValueError(f"{path}: is a zip archive that ends early or is damaged ({error}); {EXPECTED}") from None
    data = [entry for entry in entries if re.fullmatch(r"[^/]+/(data\.pkl|data/.*)", entry.filename)]
    larger = sum(entry.file_size for entry in data) > path.stat().st_size  # also entries that overlap
    if larger or any(entry.compress_type for entry in data):  # code of TorchScript may be compressed; it is not read
        raise ValueError(f"{path}: is an archive with compressed tensors, which torch does not write; {EXPECTED}")
    return [entry.filename for entry in entries]


def _torch_load(path: Path) -> Any:
    with path.open("rb") as file:  # given a path, torch would trust its suffix
        return torch.load(file, map_location="cpu", weights_only=True)


def _reading(path: Path, kind: str, read: Any) -> Any:
    try:
        return read(path)
    except MemoryError:
        raise
    except pickle.UnpicklingError as error:
        name = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it names {name[1]}, which could run code" if name else str(error).splitlines()[0]
        remedy = "save its state_dict alone with torch.save"
    except Exception as error:  # a damaged file can raise anything
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].removeprefix(f"{path}: ")
        remedy = "is the download complete?"
    raise ValueError(f"{path}: {kind} that cannot be read as tensors ({reason}); {remedy}") from None


def _unwrapped(path: Path, content: Any) -> dict[str, Tensor]:
    tensors = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(tensors, dict) or not tensors:
        raise ValueError(f"{path}: holds {'no tensors' if tensors == {} else type(tensors).__name__}; {EXPECTED}")
    for name, value in tensors.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(f"{path}: {name} is no tensor; save the checkpoint's state_dict alone with torch.save")
    return tensors
