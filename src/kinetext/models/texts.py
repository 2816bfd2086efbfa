"""The texts of the classes as methods take them: one table of token ids, which class each row describes, and how.

Captions take the same form: first a clip stands where a class stands, with its captions as sentences; then `take` makes
a table in which each of some captions is a class of its own, which is what retrieval scores videos against.

K classes, S sentences of all classes together, L words, D joint width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kinetext.tables import read_rows

if TYPE_CHECKING:
    from kinetext.models.backbone import Backbone

CAPTION_BATCH = 512  # captions at once through the text tower
PHASES = ("whole", "start", "end")


@dataclass(frozen=True)
class TextTable:
    """Tokenised sentences. `owner_S` is the class of each, `motion_S` true for a motion description (false: a name),
    `phase_S` the part of the clip that it is about, as an index into PHASES.
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
    """The usable sentences of the classes `labels`, in their order. Raises ValueError for a class without any."""
    rows = [row for row in read_rows("texts", path) if row["status"] == "ok"]
    return tabulate_texts(rows, labels, backbone, where=str(path))


def tabulate_texts(
    rows: list[dict[str, Any]], labels: list[str], backbone: Backbone, where: str = "texts"
) -> TextTable:
    """As `read_texts`, from rows of the table `texts`."""
    place = {label: k for k, label in enumerate(labels)}
    rows = sorted((row for row in rows if row["label"] in place), key=lambda row: place[row["label"]])
    named = {row["label"] for row in rows if row["kind"] != "motion"}
    silent = [label for label in labels if label not in named]
    if silent:
        raise ValueError(f"{where}: class '{silent[0]}' has no usable name or caption; run describe_classes again")
    return TextTable(
        labels,
        backbone.tokenise([row["sentence"] for row in rows]),
        torch.tensor([place[row["label"]] for row in rows]),
        torch.tensor([row["kind"] == "motion" for row in rows]),
        torch.tensor([PHASES.index(row["phase"]) for row in rows]),
    )


def class_means(sentence_SD: Tensor, table: TextTable, keep_S: Tensor) -> Tensor:
    """The mean over each class's kept sentences of their normalised features, [K, D]; zero for a class with none."""
    unit_SD = F.normalize(sentence_SD, dim=-1)[keep_S]
    owner_S = table.owner_S[keep_S]
    sums_KD = unit_SD.new_zeros(len(table.labels), unit_SD.shape[-1]).index_add(0, owner_S, unit_SD)
    counts_K = torch.bincount(owner_S, minlength=len(table.labels)).clamp(min=1)
    return sums_KD / counts_K[:, None]
