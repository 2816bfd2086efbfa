"""The distinct sentences of a text table, grouped by length: the text encoder's input.

A sentence that several classes share is encoded once, and groups avoid the cost of encoding padding.

K texts, S sentences of all classes, U distinct sentences, P sentences of similar length, L words.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from kinetext.backbones.base import TextTokens

LENGTHS = (8, 12, 16, 24, 32, 48, 1024)  # largest number of tokens of each group; a group is encoded together


class Groups(NamedTuple):
    """The distinct sentences of a table, grouped by length for the text encoder.

    `tokens` holds the tokens of each group, and `missing` the number of columns by which each group is shorter than the
    table. `row_S` is the row of each sentence of the table in the concatenated groups.
    """

    tokens: list[TextTokens]
    missing: list[int]
    row_S: Tensor


def group_by_length(tokens: TextTokens, trim: bool = True) -> Groups:
    """Return the distinct sentences, grouped by length (in one group if `trim` is false).

    A sentence that several classes share is encoded once. Groups avoid the cost of encoding padding.
    """
    ids_UL, row_S = torch.unique(tokens.ids_KL, dim=0, return_inverse=True)
    mask_UL = torch.zeros_like(ids_UL, dtype=torch.bool).index_put((row_S,), tokens.mask_KL)
    distinct = TextTokens(ids_UL, mask_UL)
    length_U = distinct.length_K
    if not trim:
        return Groups([distinct], [0], row_S)
    groups, missing, rows, shortest = [], [], [], 0
    for longest in LENGTHS:
        row_P = ((length_U > shortest) & (length_U <= longest)).nonzero()[:, 0]
        shortest = longest
        if len(row_P):
            groups.append(distinct.take(row_P).columns(int(length_U[row_P].max())))
            missing.append(ids_UL.shape[1] - groups[-1].ids_KL.shape[1])
            rows.append(row_P)
    return Groups(groups, missing, torch.cat(rows).argsort()[row_S])
