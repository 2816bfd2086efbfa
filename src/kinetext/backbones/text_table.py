"""The input of a method's text side: a table of tokenised sentences, with the class and the kind of each sentence.

Captions have the same form. At first each clip is a class whose sentences are its captions. Then `take` builds a table
in which each selected caption is a separate class, so that retrieval can score videos against it.

Everything that depends on the values in a table (which sentences are encoded together, how many sentences a class has)
is computed once, on the CPU, before the table is copied to the device. Reading a value from a GPU would make the CPU
wait.

K classes, S sentences of all classes, U distinct sentences, P sentences of similar length, L words, D joint width.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import nan
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kinetext.backbones.base import Backbone, TextTokens
from kinetext.backbones.text_groups import Groups, group_by_length
from kinetext.backbones.values import blank_tokens
from kinetext.core.schemas import DESCRIPTIONS, is_used
from kinetext.core.tables import read_rows

log = logging.getLogger(__name__)

CAPTION_BATCH = 512  # captions that go through the text encoder at once


@dataclass(frozen=True)
class TextTable:
    """The tokenised sentences of all classes, built by `text_table`.

    `owner_S` is the class of each sentence, in ascending order. `motion_S` is true for a description, including the
    controls (core/schemas.py, DESCRIPTIONS), and false for a name or caption. `position_S` is the part of the action
    that the sentence is about, from 0 (start) to 1 (end), NaN for the whole. `rival_S` is the class that the sentence
    was contrasted with, -1 for none, several, or one that is not in the table. `described` has the rows of the
    descriptions.
    """

    labels: list[str]
    tokens: TextTokens
    owner_S: Tensor
    motion_S: Tensor
    position_S: Tensor
    rival_S: Tensor
    trim: bool  # whether short sentences are encoded without the padding of long ones
    groups: Groups
    described: Tensor
    max_sentences: int  # of a class
    max_descriptions: int  # of a class
    undescribed: str | None  # the first class without a description

    def to(self, device: torch.device) -> TextTable:
        """Return the table on another device, without waiting for the copy."""
        groups = Groups(
            [_tokens_to(tokens, device) for tokens in self.groups.tokens],
            self.groups.missing,
            to_device_async(self.groups.row_S, device),
        )
        return replace(
            self,
            tokens=_tokens_to(self.tokens, device),
            owner_S=to_device_async(self.owner_S, device),
            motion_S=to_device_async(self.motion_S, device),
            position_S=to_device_async(self.position_S, device),
            rival_S=to_device_async(self.rival_S, device),
            groups=groups,
            described=to_device_async(self.described, device),
        )

    def take(self, rows_K: Tensor, part: slice = slice(None)) -> TextTable:
        """Return a table in which each of the sentences `rows_K[part]` is a separate class.

        The sentences are padded to the longest sentence of all `rows_K`, so that all parts have equal width. If the
        text encoder attends to padding, all of it is kept.
        """
        longest = int(self.tokens.length_K[rows_K].max()) if self.trim else self.tokens.ids_KL.shape[1]
        rows_K = rows_K[part]
        return text_table(
            [self.labels[owner] for owner in self.owner_S[rows_K].tolist()],
            self.tokens.take(rows_K).columns(longest),
            torch.arange(len(rows_K), device=rows_K.device),
            self.motion_S[rows_K],
            self.position_S[rows_K],
            torch.full_like(self.rival_S[rows_K], -1),
            self.trim,
        )

    def captions(self, limit: int | None = None) -> Iterator[TextTable]:
        """Yield tables of up to CAPTION_BATCH sentences, in which each sentence is a separate class.

        With `limit`, only `limit` evenly spaced sentences are used.
        """
        S = len(self.owner_S)
        rows_K = torch.arange(S, device=self.owner_S.device)
        if limit is not None and limit < S:
            rows_K = rows_K[:limit] * S // limit
        for part_K in rows_K.split(CAPTION_BATCH):
            yield self.take(part_K)


def text_table(
    labels: list[str],
    tokens: TextTokens,
    owner_S: Tensor,
    motion_S: Tensor,
    position_S: Tensor,
    rival_S: Tensor,
    trim: bool = True,
) -> TextTable:
    """Return the table of the sentences, with the fields that are derived from the tokens, owners and kinds."""
    with torch.inference_mode(False):  # the tensors may be used in autograd later
        described = motion_S.nonzero()[:, 0]
        descriptions_K = torch.bincount(owner_S[described], minlength=len(labels)).tolist()
        return TextTable(
            labels,
            tokens,
            owner_S,
            motion_S,
            position_S,
            rival_S,
            trim,
            groups=group_by_length(tokens, trim),
            described=described,
            max_sentences=int(torch.bincount(owner_S).max()) if len(owner_S) else 0,
            max_descriptions=max(descriptions_K, default=0),
            undescribed=labels[descriptions_K.index(0)] if 0 in descriptions_K else None,
        )


@dataclass(frozen=True)
class WordFeatures:
    """The features of a TextTable from the text encoder: one per sentence [S, D] and one per word [S, L, D]."""

    sentence_SD: Tensor
    word_SLD: Tensor


def read_texts(path: Path, labels: list[str], backbone: Backbone) -> TextTable:
    """Return the table of the usable sentences of the classes `labels`, in the order of `labels`.

    If other classes have descriptions, the names of a class without a usable description are used as descriptions. A
    failed answer of a language model therefore does not stop the runs; the report lists the class. Raises ValueError if
    a class has no name or caption.
    """
    rows = [row for row in read_rows("texts", path) if is_used(row["status"])]
    return tabulate_texts(rows + names_as_descriptions(rows, labels, str(path)), labels, backbone, where=str(path))


def names_as_descriptions(rows: list[dict[str, Any]], labels: list[str], where: str) -> list[dict[str, Any]]:
    """Return the name rows of the `labels` without a description, changed to descriptions.

    The list is empty if no class has a description. `where` is the file named in the warning.
    """
    described = {row["label"] for row in rows if row["kind"] in DESCRIPTIONS}
    undescribed = [label for label in labels if label not in described] if described else []
    for label in undescribed:
        log.warning("%s: class '%s' has no usable description; its name is used instead", where, label)
    return [{**row, "kind": "motion"} for row in rows if row["label"] in undescribed and row["kind"] == "name"]


def tabulate_texts(
    rows: list[dict[str, Any]], labels: list[str], backbone: Backbone, where: str = "texts"
) -> TextTable:
    """Return the table of the classes `labels`, built from rows of the table `texts`.

    Raises ValueError if a class has no name or caption. `where` is the file named in the error.
    """
    index = {label: k for k, label in enumerate(labels)}
    rows = sorted((row for row in rows if row["label"] in index), key=lambda row: index[row["label"]])
    named = {row["label"] for row in rows if row["kind"] not in DESCRIPTIONS}
    unnamed = [label for label in labels if label not in named]
    if unnamed:
        raise ValueError(f"{where}: class '{unnamed[0]}' has no usable name or caption; run describe_classes again")
    sentences = [row["sentence"] for row in rows]
    return text_table(
        labels,
        backbone.tokenize(sentences) if backbone.has_text else blank_tokens(len(sentences)),
        torch.tensor([index[row["label"]] for row in rows]),
        torch.tensor([row["kind"] in DESCRIPTIONS for row in rows]),
        torch.tensor([nan if row["position"] is None else row["position"] for row in rows]),
        torch.tensor([index.get(row.get("rival") or "", -1) for row in rows]),
        trim=not backbone.sees_padding,
    )


def encode_table(backbone: Backbone, table: TextTable, prompts: Sequence[Tensor] = ()) -> WordFeatures:
    """Return the features of all sentences and words of a table. The features of padding have no meaning.

    `prompts` are vectors for the first layers of the text encoder (see `Backbone.encode_text`).
    """
    tokens, missing, row_S = table.groups
    parts = []
    for group, columns in zip(tokens, missing, strict=True):
        sentence_PD, word_PLD = backbone.encode_text(group, prompts) if prompts else backbone.encode_text(group)
        parts.append((sentence_PD, F.pad(word_PLD, (0, 0, 0, columns))))
    sentence_UD, word_ULD = (torch.cat(part) for part in zip(*parts, strict=True))
    return WordFeatures(sentence_UD[row_S], word_ULD[row_S])


def class_means(sentence_SD: Tensor, table: TextTable, keep_S: Tensor, weight_S: Tensor | None = None) -> Tensor:
    """Return the (weighted) mean [K, D] of the normalised features of the sentences `keep_S` of each class.

    The mean is zero for a class without such a sentence.
    """
    unit_SD = F.normalize(sentence_SD, dim=-1)
    keep_S = keep_S.to(unit_SD.dtype)  # a weight of zero: selecting rows would wait for the device
    weight_S = keep_S if weight_S is None else keep_S * weight_S
    sums_KD = unit_SD.new_zeros(len(table.labels), unit_SD.shape[-1])
    sums_KD = sums_KD.index_add(0, table.owner_S, unit_SD * weight_S[:, None])
    total_K = weight_S.new_zeros(len(table.labels)).index_add(0, table.owner_S, weight_S)
    return sums_KD / torch.where(total_K > 0, total_K, 1.0)[:, None]


def at_position(table: TextTable, position: float | None) -> Tensor:
    """Return which sentences [S] are descriptions at a position; None: those about the whole action."""
    at_S = table.position_S.isnan() if position is None else table.position_S == position
    return table.motion_S & at_S


def unscaled_class_means(sentence_SD: Tensor, table: TextTable) -> Tensor:
    """Return the mean feature [K, D] of the sentences of each class, with the norm of the encoder's features.

    The direction is that of `class_means`. The norm is the mean norm of the features of the sentences, for methods that
    process text features further. With one sentence per class, the result is the feature of the sentence.
    """
    length_S = sentence_SD.norm(dim=-1)
    sums_2K = length_S.new_zeros(2, len(table.labels))
    length_K, count_K = sums_2K.index_add(1, table.owner_S, torch.stack([length_S, torch.ones_like(length_S)]))
    return class_means(sentence_SD, table, torch.ones_like(table.motion_S)) * (length_K / count_K)[:, None]


def require_descriptions(table: TextTable, method: str) -> None:
    """Raise ValueError if a class has no usable motion description. `method` names the method in the error message."""
    if table.undescribed is not None:
        raise ValueError(
            f"{method}: class '{table.undescribed}' has no usable motion description; the status of its rows in the table "
            "texts says why. Take texts that describe it, not `names`; after a failed request "
            "`snakemake --forcerun describe_classes` queries the model again"
        )


def to_device_async(tensor: Tensor, device: torch.device) -> Tensor:
    """Return the tensor on the device, without waiting for the copy."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()  # copies from pageable memory are synchronous
    return tensor.to(device, non_blocking=True)


def _tokens_to(tokens: TextTokens, device: torch.device) -> TextTokens:
    return TextTokens(*(to_device_async(tensor, device) for tensor in tokens))
