"""The texts of the classes as methods take them: one table of token ids, which class each row describes, and how.

Captions take the same form: first a clip stands where a class stands, with its captions as sentences; then `take` makes
a table in which each of some captions is a class of its own, which is what retrieval scores videos against.

What a table's numbers decide (which sentences go through the text tower together, which describe) is worked out once, before
the table goes to the device: to ask a GPU for a number is to wait for it.

K classes, S sentences of all classes together, U of them distinct, L words, D joint width.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from kinetext.core.schemas import DESCRIPTIONS, PHASES
from kinetext.core.tables import read_rows

if TYPE_CHECKING:
    from kinetext.backbones.open_clip_vit import Backbone

log = logging.getLogger(__name__)

CAPTION_BATCH = 512  # captions at once through the text tower
LENGTHS = (8, 12, 16, 24, 32, 48, 1024)  # tokens: sentences up to one of these go through the text tower together


class Groups(NamedTuple):
    """The distinct sentences, those of about one length together, as the text tower takes them: their tokens [P, L], how
    many columns of padding each lacks, and which of their rows each sentence of the table is.
    """

    tokens: list[Tensor]
    missing: list[int]
    place_S: Tensor


@dataclass(frozen=True)
class TextTable:
    """Tokenised sentences. `owner_S` is the class of each, `motion_S` true for a description (false: a name or caption):
    of the motion, or what a control puts in its place (schemas.DESCRIPTIONS); `phase_S` the part of the clip that it is
    about, as an index into PHASES.
    """

    labels: list[str]
    tokens_SL: Tensor
    owner_S: Tensor
    motion_S: Tensor
    phase_S: Tensor

    def to(self, device: torch.device) -> TextTable:
        """The same table on another device, without waiting for it."""
        tensors = (self.tokens_SL, self.owner_S, self.motion_S, self.phase_S)
        moved = TextTable(self.labels, *(to_device_async(t, device) for t in tensors))
        tokens, missing, place_S = self.groups
        moved.__dict__["groups"] = Groups(
            [to_device_async(t, device) for t in tokens], missing, to_device_async(place_S, device)
        )
        moved.__dict__["described"] = to_device_async(self.described, device)
        moved.__dict__.update(most=self.most, most_described=self.most_described, silent=self.silent)
        return moved

    @cached_property
    def most(self) -> int:
        """The sentences of the class that has the most."""
        return int(torch.bincount(self.owner_S).max())

    @cached_property
    @torch.inference_mode(False)  # what is kept may go through autograd later
    def described(self) -> Tensor:
        """The rows that describe."""
        return self.motion_S.nonzero()[:, 0]

    @cached_property
    def most_described(self) -> int:
        """The descriptions of the class that has the most."""
        return int(torch.bincount(self.owner_S[self.described], minlength=1).max())

    @cached_property
    def silent(self) -> str | None:
        """The first class without a description."""
        found = torch.bincount(self.owner_S[self.described], minlength=len(self.labels)).tolist()
        return self.labels[found.index(0)] if 0 in found else None

    @cached_property
    @torch.inference_mode(False)
    def groups(self) -> Groups:
        """How the text tower takes the table. What two classes share (one ends as the other starts) is encoded once, and
        sentences go with others of about their length: padding costs as much as words do.
        """
        tokens_UL, place_S = torch.unique(self.tokens_SL, dim=0, return_inverse=True)
        length_U = tokens_UL.argmax(-1) + 1  # the end token has the largest id
        tokens, missing, rows, shortest = [], [], [], 0
        for longest in LENGTHS:
            row_P = ((length_U > shortest) & (length_U <= longest)).nonzero()[:, 0]
            shortest = longest
            if len(row_P):
                tokens.append(tokens_UL[row_P, : int(length_U[row_P].max())])
                missing.append(tokens_UL.shape[1] - tokens[-1].shape[1])
                rows.append(row_P)
        return Groups(tokens, missing, torch.cat(rows).argsort()[place_S])

    def rows(self, part: slice) -> TextTable:
        """Some of the captions that `take` took, as wide as all of them."""
        tensors = (self.tokens_SL, self.owner_S, self.motion_S, self.phase_S)
        tokens_KL, owner_K, motion_K, phase_K = (t[part] for t in tensors)
        return TextTable(self.labels[part], tokens_KL, owner_K - part.start, motion_K, phase_K)

    def take(self, rows_K: Tensor) -> TextTable:
        """Some sentences, each as a class of its own, no longer than the longest of them."""
        tokens_KL = self.tokens_SL[rows_K]
        longest = int(tokens_KL.argmax(-1).max()) + 1  # the end token has the largest id
        return TextTable(
            [self.labels[owner] for owner in self.owner_S[rows_K].tolist()],
            tokens_KL[:, :longest],
            torch.arange(len(rows_K), device=rows_K.device),
            self.motion_S[rows_K],
            self.phase_S[rows_K],
        )

    def captions(self, most: int | None = None) -> Iterator[TextTable]:
        """All sentences, or `most` of them, evenly spaced, each as a class of its own, some at a time."""
        S = len(self.owner_S)
        rows_K = torch.arange(S, device=self.owner_S.device)
        if most is not None and most < S:
            rows_K = rows_K[:most] * S // most
        for part_K in rows_K.split(CAPTION_BATCH):
            yield self.take(part_K)


@dataclass(frozen=True)
class WordFeatures:
    """What the text tower makes of a TextTable: a feature per sentence [S, D] and per word [S, L, D]."""

    sentence_SD: Tensor
    word_SLD: Tensor


def read_texts(path: Path, labels: list[str], backbone: Backbone) -> TextTable:
    """The usable sentences of the classes `labels`, in their order. Raises ValueError for a class without any.

    Where others are described, the names of a class without a usable description stand in its place, so that one failed
    answer does not cost a night's run; the report lists the class (report/inputs.py).
    """
    rows = [row for row in read_rows("texts", path) if row["status"] == "ok"]
    return tabulate_texts(rows + named_instead(rows, labels, str(path)), labels, backbone, where=str(path))


def named_instead(rows: list[dict[str, Any]], labels: list[str], where: str) -> list[dict[str, Any]]:
    """The names of those `labels` that have no description, as descriptions; nothing where no class has one."""
    described = {row["label"] for row in rows if row["kind"] in DESCRIPTIONS}
    silent = [label for label in labels if label not in described] if described else []
    for label in silent:
        log.warning("%s: class '%s' has no usable description; its name takes the place of one", where, label)
    return [{**row, "kind": "motion"} for row in rows if row["label"] in silent and row["kind"] == "name"]


def tabulate_texts(
    rows: list[dict[str, Any]], labels: list[str], backbone: Backbone, where: str = "texts"
) -> TextTable:
    """As `read_texts`, from rows of the table `texts`."""
    place = {label: k for k, label in enumerate(labels)}
    rows = sorted((row for row in rows if row["label"] in place), key=lambda row: place[row["label"]])
    named = {row["label"] for row in rows if row["kind"] not in DESCRIPTIONS}
    silent = [label for label in labels if label not in named]
    if silent:
        raise ValueError(f"{where}: class '{silent[0]}' has no usable name or caption; run describe_classes again")
    return TextTable(
        labels,
        backbone.tokenise([row["sentence"] for row in rows]),
        torch.tensor([place[row["label"]] for row in rows]),
        torch.tensor([row["kind"] in DESCRIPTIONS for row in rows]),
        torch.tensor([PHASES.index(row["phase"]) for row in rows]),
    )


def encode_table(backbone: Backbone, table: TextTable) -> WordFeatures:
    """The text tower's features of a table; those of padding mean nothing."""
    tokens, missing, place_S = table.groups
    parts = []
    for tokens_PL, columns in zip(tokens, missing, strict=True):
        sentence_PD, word_PLD = backbone.encode_text(tokens_PL)
        parts.append((sentence_PD, F.pad(word_PLD, (0, 0, 0, columns))))
    sentence_UD, word_ULD = (torch.cat(part) for part in zip(*parts, strict=True))
    return WordFeatures(sentence_UD[place_S], word_ULD[place_S])


def class_means(sentence_SD: Tensor, table: TextTable, keep_S: Tensor, weight_S: Tensor | None = None) -> Tensor:
    """The mean over each class's kept sentences of their normalised features, [K, D]; zero for a class with none. With
    positive weights a weighted mean.
    """
    unit_SD = F.normalize(sentence_SD, dim=-1)
    keep_S = keep_S.to(unit_SD.dtype)  # a weight of zero, for to pick rows is to wait for the device
    weight_S = keep_S if weight_S is None else keep_S * weight_S
    sums_KD = unit_SD.new_zeros(len(table.labels), unit_SD.shape[-1])
    sums_KD = sums_KD.index_add(0, table.owner_S, unit_SD * weight_S[:, None])
    total_K = weight_S.new_zeros(len(table.labels)).index_add(0, table.owner_S, weight_S)
    return sums_KD / torch.where(total_K > 0, total_K, 1.0)[:, None]


def need_descriptions(table: TextTable, method: str) -> None:
    """Raise ValueError, in the name of a method, for the first class without a motion description."""
    if table.silent is not None:
        raise ValueError(
            f"{method}: class '{table.silent}' has no usable motion description; its rows of the table texts say why. Take "
            "texts that describe it, not `names`; after a failed request `snakemake --forcerun describe_classes` asks again"
        )


def to_device_async(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on a device, on its way while the program goes on."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()  # the only memory that a copy need not be waited for from
    return tensor.to(device, non_blocking=True)
