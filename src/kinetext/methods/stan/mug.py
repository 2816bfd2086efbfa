"""Mug-STAN's head (arXiv:2311.15075): compare every frame with every word. STAN's CVPR paper reports no result with it.

B videos, T frames, K classes, M sentences of a class, S = K M sentences, L words, D joint width.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from kinetext.backbones.text_table import TextTable, WordFeatures

SCALE = 100.0  # of every softmax (mug_head.py, tau)
NUMBERS = 2**24  # similarities held at once


def mug_scores(video_BTV: Tensor, word_SLV: Tensor, mask_SL: Tensor) -> Tensor:
    """Return the scores [B, S] of all pairs of videos and sentences.

    The cosines of all frames and words are pooled with softmax weights over frames, then words, and in the opposite
    order. The score is the mean of both. The features must be normalised. `mask_SL` is true for words and false for
    padding. Source: `mug_frame_token_simple` of farewellthree/STAN @ c9dc7b6.
    """
    step = max(1, NUMBERS // (video_BTV.shape[0] * video_BTV.shape[1] * word_SLV.shape[1]))
    parts = zip(word_SLV.split(step), mask_SL.split(step), strict=True)
    return torch.cat([_mug(video_BTV, words, mask) for words, mask in parts], 1)


def _mug(video_BTV: Tensor, word_SLV: Tensor, mask_SL: Tensor) -> Tensor:
    padding = ~mask_SL[None]
    alike_BSLT = torch.einsum("btv,slv->bslt", video_BTV, word_SLV)
    by_word_BSL = _soft_max(alike_BSLT)
    weight_BSLT = (SCALE * alike_BSLT).masked_fill(padding[..., None], -torch.inf).softmax(2)
    by_frame_BST = (alike_BSLT * weight_BSLT).sum(2)
    weight_BSL = (SCALE * by_word_BSL).masked_fill(padding, -torch.inf).softmax(2)
    return ((by_word_BSL * weight_BSL).sum(2) + _soft_max(by_frame_BST)) / 2


def _soft_max(x: Tensor) -> Tensor:
    return (x * (SCALE * x).softmax(-1)).sum(-1)


class ClassWords(NamedTuple):
    """The normalised words of all sentences of each class [K, M, L, D], and a mask [K, M, L] that is true for words."""

    word_KMLD: Tensor
    mask_KML: Tensor


def class_words(words: WordFeatures, table: TextTable) -> ClassWords:
    """Return the normalised word features of all classes, up to the end token of each sentence."""
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
    """Return the scores [B, K], averaged over the sentences of a class. In the original a class has one sentence."""
    has_sentence_KM = text.mask_KML.any(-1)
    # a missing sentence is one zero word with weight 0, because selecting the others would wait for the device
    mask_KML = torch.cat([text.mask_KML[..., :1] | ~has_sentence_KM[..., None], text.mask_KML[..., 1:]], -1)
    video_BTD = F.normalize(video_BTD, dim=-1)
    scores_BS = mug_scores(video_BTD, text.word_KMLD.flatten(0, 1), mask_KML.flatten(0, 1))
    scores_BKM = scores_BS.unflatten(1, has_sentence_KM.shape) * has_sentence_KM
    return scores_BKM.sum(-1) / has_sentence_KM.sum(1)
