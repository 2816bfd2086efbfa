"""Tokenizers of image-text models, and how texts are padded and truncated.

`ClipTokenizer` is CLIP's byte pair encoding from open_clip. `HubTokenizer` reads the file tokenizer.json of the Hugging
Face hub (SigLIP, CLIPA, MetaCLIP 2) with the package tokenizers. The file is taken from the folder of the weights or
from the hub (its cache first), and stored beside the weights of the prepared backbone.

K texts, L words.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import safe_open
from torch import Tensor

from kinetext.backbones.download import hub_file
from kinetext.backbones.library import open_clip, tokenizer_of
from kinetext.backbones.values import TextTokens
from kinetext.config.backbone import HUB
from kinetext.core.documents import load_json

FILE, SETTINGS = "tokenizer.json", "tokenizer_config.json"
TENSOR = "tokenizer"  # of weights.safetensors: the bytes of tokenizer.json

log = logging.getLogger(__name__)


class Tokenizer(Protocol):
    """The interface of a tokenizer."""

    @property
    def pad(self) -> int:
        """The id of the padding token."""

    def ids(self, text: str) -> list[int]:
        """Return the token ids of a text with start and end token, untruncated."""


class ClipTokenizer:
    """The byte pair encoding of CLIP."""

    pad = 0

    def __init__(self, model: str) -> None:
        self.model = model

    def ids(self, text: str) -> list[int]:
        """Return the token ids of a text with start and end token, untruncated."""
        tokenizer = tokenizer_of(self.model)
        return [tokenizer.sot_token_id, *tokenizer.encode(text), tokenizer.eot_token_id]


@dataclass(frozen=True)
class HubTokenizer:
    """A tokenizer of the hub: the content of tokenizer.json, the token used as padding, and open_clip's text cleaning.

    `zero_token` is a token that the model sees as id 0: CLIPA's end of text.
    """

    content: bytes
    pad_token: str
    clean: str = "whitespace"
    zero_token: str | None = None

    @cached_property
    def pad(self) -> int:
        """The id of the padding token. Raises ValueError if the tokenizer has no such token."""
        pad = self._loaded.token_to_id(self.pad_token)
        if pad is None:
            raise ValueError(f"{FILE}: has no token '{self.pad_token}', which {SETTINGS} names as padding")
        return int(pad)

    def ids(self, text: str) -> list[int]:
        """Return the token ids of a text with start and end token, untruncated."""
        ids = list(self._loaded.encode(self._cleaned(text)).ids)
        zero = None if self.zero_token is None else self._loaded.token_to_id(self.zero_token)
        return [0 if number == zero else number for number in ids]

    def _cleaned(self, text: str) -> str:
        return str(open_clip().tokenizer.get_clean_fn(self.clean)(text))

    @cached_property
    def _loaded(self) -> Any:
        try:
            from tokenizers import Tokenizer as Loaded
        except ImportError:
            raise ValueError(
                "backbones: the tokenizer of this model needs the package tokenizers, which is not installed; run `pip install "
                "tokenizers`"
            ) from None
        try:
            loaded = Loaded.from_str(self.content.decode())
        except Exception as error:  # the package raises plain exceptions
            raise ValueError(f"{FILE}: is no tokenizer of the hub ({error}); is the download complete?") from None
        loaded.no_padding()
        loaded.no_truncation()
        return loaded


def find_tokenizer(text_settings: dict[str, Any], weights: str | None = None) -> HubTokenizer:
    """Return the hub tokenizer that a model's configuration in open_clip names.

    It is read from the folder of the weights or from the repository hf-hub:owner/name if that has one, else from the
    repository that the configuration names. Raises ValueError if it is not on this machine and cannot be downloaded.
    """
    options = text_settings.get("tokenizer_kwargs", {})
    clean, strips = options.get("clean", "whitespace"), bool(options.get("strip_sep_token"))
    folder = Path(weights) if weights and not weights.startswith(HUB) else None
    if folder is not None and folder.is_dir() and (folder / FILE).is_file():
        return _read(folder / FILE, folder / SETTINGS, clean, strips)
    of_weights = [weights.removeprefix(HUB)] if weights and weights.startswith(HUB) else []
    needed, reason, repository = f"{FILE} and {SETTINGS}", "", ""
    for repository in (*of_weights, text_settings["hf_tokenizer_name"]):
        try:
            files = (hub_file(repository, (FILE,), needed), hub_file(repository, (SETTINGS,), needed))
        except ValueError as error:
            reason = str(error)
            continue
        return _read(*files, clean, strips)
    where = f"put {needed} of hf-hub:{repository} into the folder of the weights"
    raise ValueError(f"backbones: the tokenizer is missing: {reason}; or {where}")


def _read(file: Path, settings: Path, clean: str, strips: bool) -> HubTokenizer:
    """Return the tokenizer in a file. Raises ValueError if the settings beside it name no padding token."""
    names = load_json(settings) if settings.is_file() else {}
    token, separator = (_content(names.get(name)) for name in ("pad_token", "sep_token"))
    if not isinstance(token, str):
        raise ValueError(f"{settings}: names no pad_token; add the file of the same repository as {FILE}")
    return HubTokenizer(file.read_bytes(), token, clean, (separator or "[SEP]") if strips else None)


def _content(token: Any) -> Any:
    return token.get("content") if isinstance(token, dict) else token


def tokenizer_settings(tokenizer: Tokenizer | None) -> dict[str, Any] | None:
    """Return the settings of a tokenizer of the hub for backbone.yaml; None for CLIP's."""
    if not isinstance(tokenizer, HubTokenizer):
        return None
    zero = {} if tokenizer.zero_token is None else {"zero_token": tokenizer.zero_token}
    return {"pad_token": tokenizer.pad_token, "clean": tokenizer.clean, **zero}


def tokenizer_from(architecture: dict[str, Any], text_settings: dict[str, Any]) -> Tokenizer:
    """Return the tokenizer of backbone.yaml.

    If its settings are stored, a hub tokenizer has no content yet (see `with_content`); else it is read from the hub's
    cache or the hub.
    """
    if "hf_tokenizer_name" not in text_settings:
        return ClipTokenizer(architecture["model"])
    stored = architecture.get("tokenizer")
    return HubTokenizer(b"", **stored) if stored else find_tokenizer(text_settings)


def tokenizer_tensors(tokenizer: Tokenizer | None) -> dict[str, Tensor]:
    """Return the bytes of tokenizer.json as a tensor for weights.safetensors; nothing for CLIP's tokenizer."""
    if not isinstance(tokenizer, HubTokenizer):
        return {}
    return {TENSOR: torch.frombuffer(bytearray(tokenizer.content), dtype=torch.uint8)}


def with_content(tokenizer: Tokenizer | None, tensors: dict[str, Tensor]) -> Tokenizer | None:
    """Return a tokenizer with the content that `tokenizer_tensors` stored."""
    if TENSOR not in tensors or not isinstance(tokenizer, HubTokenizer):
        return tokenizer
    return replace(tokenizer, content=tensors[TENSOR].numpy().tobytes())


def tokenizer_files(tokenizer: HubTokenizer) -> dict[str, str]:
    """Return the files of a hub tokenizer: name -> content. `find_tokenizer` and transformers read them."""
    separator = {} if tokenizer.zero_token is None else {"sep_token": tokenizer.zero_token}
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": tokenizer.pad_token, **separator}
    return {FILE: tokenizer.content.decode(), SETTINGS: json.dumps(names, indent=2) + "\n"}


def tensors_of_folder(folder: Path) -> dict[str, Tensor]:
    """Return what `tokenizer_tensors` returns for the tokenizer in a folder of weights, if it has one."""
    file = folder / FILE
    return {TENSOR: torch.frombuffer(bytearray(file.read_bytes()), dtype=torch.uint8)} if file.is_file() else {}


def counter_of(architecture: dict[str, Any], text_settings: dict[str, Any]) -> Callable[[str], int]:
    """Return a function that counts the tokens of a text for a backbone.

    `architecture` is the content of backbone.yaml. A tokenizer from the hub is read from the folder that it names.
    """
    tokenizer: Tokenizer | None = tokenizer_from(architecture, text_settings)
    if isinstance(tokenizer, HubTokenizer) and "folder" in architecture:
        with safe_open(Path(architecture["folder"]) / "weights.safetensors", "pt") as file:
            tokenizer = with_content(tokenizer, {TENSOR: file.get_tensor(TENSOR)})
    assert tokenizer is not None
    counter = tokenizer.ids
    return lambda text: len(counter(text))


def tokenize(tokenizer: Tokenizer, texts: list[str], context_length: int, whole: bool) -> TextTokens:
    """Return the tokens of the texts, padded to the longest, or with `whole` to the context length.

    If a text is longer than the context, its last words are cut, its end token is kept, and a warning is logged.
    """
    rows = [tokenizer.ids(text) for text in texts]
    cut = sum(len(row) > context_length for row in rows)
    if cut:
        log.warning("%d of %d texts are over %d tokens and were cut", cut, len(texts), context_length)
    rows = [row if len(row) <= context_length else [*row[: context_length - 1], row[-1]] for row in rows]
    length = context_length if whole else max(map(len, rows))
    ids_KL = torch.tensor([row + [tokenizer.pad] * (length - len(row)) for row in rows])
    lengths_K = torch.tensor([len(row) for row in rows])
    return TextTokens(ids_KL, torch.arange(length) < lengths_K[:, None])
