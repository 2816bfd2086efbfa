"""The texts of the classes as methods take them: one table of token ids, which class each row describes, and how.

Captions take the same form: first a clip stands where a class stands, with its captions as sentences; then `take` makes
a table in which each of some captions is a class of its own, which is what retrieval scores videos against.

K classes, S sentences of all classes together, L words, D joint width.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kinetext.tables import DESCRIPTIONS, read_rows

if TYPE_CHECKING:
    from kinetext.models.backbone import Backbone

log = logging.getLogger(__name__)

CAPTION_BATCH = 512  # captions at once through the text tower
LENGTHS = (8, 12, 16, 24, 32, 48, 1024)  # tokens: sentences up to one of these go through the text tower together
PHASES = ("whole", "start", "end")


@dataclass(frozen=True)
class TextTable:
    """Tokenised sentences. `owner_S` is the class of each, `motion_S` true for a description (false: a name or caption):
    of the motion, or what a control puts in its place (tables.DESCRIPTIONS); `phase_S` the part of the clip that it is
    about, as an index into PHASES.
    """

    labels: list[str]
    tokens_SL: Tensor
    owner_S: Tensor
    motion_S: Tensor
    phase_S: Tensor

    def to(self, device: torch.device) -> TextTable:
        """The same table on another device."""
        tensors = (self.tokens_SL, self.owner_S, self.motion_S, self.phase_S)
        return TextTable(self.labels, *(t.to(device) for t in tensors))

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
    answer does not cost a night's run; the report lists the class (report/material.py).
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
    """The text tower's features of a table. What two classes share (one ends as the other starts) is encoded once, and
    sentences go with others of about their length: padding costs as much as words do. Its features mean nothing.
    """
    tokens_UL, place_S = torch.unique(table.tokens_SL, dim=0, return_inverse=True)
    length_U = tokens_UL.argmax(-1) + 1  # the end token has the largest id
    parts, rows, shortest = [], [], 0
    for longest in LENGTHS:
        row_P = ((length_U > shortest) & (length_U <= longest)).nonzero()[:, 0]
        shortest = longest
        if len(row_P):
            tokens_PL = tokens_UL[row_P, : int(length_U[row_P].max())]
            sentence_PD, word_PLD = backbone.encode_text(tokens_PL)
            missing = tokens_UL.shape[1] - tokens_PL.shape[1]
            parts.append((sentence_PD, F.pad(word_PLD, (0, 0, 0, missing))))
            rows.append(row_P)
    back_U = torch.cat(rows).argsort()
    sentence_UD, word_ULD = (torch.cat(part)[back_U] for part in zip(*parts, strict=True))
    return WordFeatures(sentence_UD[place_S], word_ULD[place_S])


def class_means(sentence_SD: Tensor, table: TextTable, keep_S: Tensor, weight_S: Tensor | None = None) -> Tensor:
    """The mean over each class's kept sentences of their normalised features, [K, D]; zero for a class with none. With
    positive weights a weighted mean.
    """
    unit_SD = F.normalize(sentence_SD, dim=-1)[keep_S]
    owner_S = table.owner_S[keep_S]
    weight_S = unit_SD.new_ones(len(unit_SD)) if weight_S is None else weight_S[keep_S]
    sums_KD = unit_SD.new_zeros(len(table.labels), unit_SD.shape[-1])
    sums_KD = sums_KD.index_add(0, owner_S, unit_SD * weight_S[:, None])
    total_K = weight_S.new_zeros(len(table.labels)).index_add(0, owner_S, weight_S)
    return sums_KD / torch.where(total_K > 0, total_K, 1.0)[:, None]


def need_descriptions(table: TextTable, method: str) -> None:
    """Raise ValueError, in the name of a method, for the first class without a motion description."""
    described_K = torch.bincount(table.owner_S[table.motion_S], minlength=len(table.labels)) > 0
    if not bool(described_K.all()):
        silent = table.labels[int((~described_K).nonzero()[0])]
        raise ValueError(
            f"{method}: class '{silent}' has no usable motion description; its rows of the table texts say why. Take texts "
            "that describe it, not `names`; after a failed request `snakemake --forcerun describe_classes` asks again"
        )
