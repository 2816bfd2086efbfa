"""Mug-STAN's head (arXiv:2311.15075): every frame is compared with every word. It belongs to no table of STAN's CVPR paper.

B videos, T frames, K classes, M sentences of a class, S = K M sentences, L words, D joint width.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from kinetext.backbones.text_table import TextTable, WordFeatures

SCALE = 100.0  # of every softmax (mug_head.py, tau)
NUMBERS = 2**24  # similarities held at once


def mug_scores(video_BTV: Tensor, word_SLV: Tensor, seen_SL: Tensor) -> Tensor:
    """Scores [B, S] of every frame with every word, pooled by softmax over frames, then words, and the other way round,
    the mean of both: `mug_frame_token_simple` of farewellthree/STAN @ c9dc7b6. Features are
    normalised; `seen_SL` is true for words, false for padding.
    """
    step = max(1, NUMBERS // (video_BTV.shape[0] * video_BTV.shape[1] * word_SLV.shape[1]))
    parts = zip(word_SLV.split(step), seen_SL.split(step), strict=True)
    return torch.cat([_mug(video_BTV, words, seen) for words, seen in parts], 1)


def _mug(video_BTV: Tensor, word_SLV: Tensor, seen_SL: Tensor) -> Tensor:
    unseen = ~seen_SL[None]
    alike_BSLT = torch.einsum("btv,slv->bslt", video_BTV, word_SLV)
    by_word_BSL = _soft_max(alike_BSLT)
    weight_BSLT = (SCALE * alike_BSLT).masked_fill(unseen[..., None], -torch.inf).softmax(2)
    by_frame_BST = (alike_BSLT * weight_BSLT).sum(2)
    weight_BSL = (SCALE * by_word_BSL).masked_fill(unseen, -torch.inf).softmax(2)
    return ((by_word_BSL * weight_BSL).sum(2) + _soft_max(by_frame_BST)) / 2


def _soft_max(x: Tensor) -> Tensor:
    return (x * (SCALE * x).softmax(-1)).sum(-1)


class ClassWords(NamedTuple):
    """The words of every sentence of every class, normalised [K, M, L, D], and which of them there are [K, M, L]."""

    word_KMLD: Tensor
    seen_KML: Tensor


def class_words(words: WordFeatures, table: TextTable) -> ClassWords:
    """Return the words up to each sentence's end token, the sentences of a class in one row (owners are sorted)."""
    K, (S, L) = len(table.labels), table.tokens.ids_KL.shape
    owner_S = table.owner_S
    position_S = torch.arange(S, device=owner_S.device) - torch.searchsorted(owner_S, owner_S)
    M = table.max_sentences
    word_SLD = F.normalize(words.word_SLD, dim=-1)
    return ClassWords(
        word_SLD.new_zeros(K, M, L, word_SLD.shape[-1]).index_put((owner_S, position_S), word_SLD),
        table.tokens.mask_KL.new_zeros(K, M, L).index_put((owner_S, position_S), table.tokens.mask_KL),
    )


def class_scores(video_BTD: Tensor, text: ClassWords) -> Tensor:
    """Scores [B, K]: the mean over a class's sentences (the original knows one sentence only)."""
    there_KM = text.seen_KML.any(-1)
    # an empty place is scored as one word of zeros and counts for nothing: to pick the others is to wait for the device
    seen_KML = torch.cat([text.seen_KML[..., :1] | ~there_KM[..., None], text.seen_KML[..., 1:]], -1)
    video_BTD = F.normalize(video_BTD, dim=-1)
    scores_BS = mug_scores(video_BTD, text.word_KMLD.flatten(0, 1), seen_KML.flatten(0, 1))
    scores_BKM = scores_BS.unflatten(1, there_KM.shape) * there_KM
    return scores_BKM.sum(-1) / there_KM.sum(1)
