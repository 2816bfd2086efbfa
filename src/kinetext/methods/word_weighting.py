"""Word weighting: the video concept spotting of BIKE (Wu et al., "Bidirectional Cross-Modal Knowledge Exploration for
Video Recognition with Pre-trained Vision-Language Models", CVPR 2023). The words of a class name weight the frames.

Each word gives every frame a weight: the softmax over frames of their cosines with the word, at temperature 0.01. The
weights are averaged over the words of a class. The score is the cosine of each frame with the class, averaged with
these weights. It equals the inner product of the normalised class feature with the weighted mean, not renormalised, of
the normalised frames.

Nothing trains and no parameter is added; `word_weighting_tuned` is the same score with trained encoders. Clips of one
frame, and clips of equal frames, get the scores of zero_shot (tests/methods/test_text_conditioned.py). Frame order has
no effect. On a backbone without a class token the frames are its pooled image features, and the statement about equal
frames still holds.

Differences from BIKE (whwu95/BIKE @ e8f6a8b): the released code averages the weights over all 77 token positions, with
padding. Texts are not padded to 77 tokens here, and padding features have no meaning, so only the tokens from the start
token to the end token count (tests/parity/test_word_weighting.py has both numbers). If a class has several sentences,
the words of all of them count. BIKE's attribute branch is left out.

B clips, T frames, K classes or captions, W words of a class, D joint width.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from kinetext.backbones.text_table import TextTable, WordFeatures
from kinetext.core.plugins import Options
from kinetext.methods.base import ALL_TASKS, IGNORES_ORDER, Method
from kinetext.methods.blocks import score_in_chunks
from kinetext.methods.stan.mug import class_words


class ClassTexts(NamedTuple):
    """The feature of each class [K, D], its normalised words [K, W, D], and a mask [K, W], true for real words."""

    class_KD: Tensor
    word_KWD: Tensor
    mask_KW: Tensor


class WordWeighting(Method):
    """Average the cosines of the frames with a class, weighted by the words of the class."""

    paper = "BIKE's video concept spotting (Wu et al., CVPR 2023)"
    mechanism = (
        "Averages the cosines of the frames with a class; frames that resemble the words of the class weigh more."
    )
    equals_before_training = "nothing trains; on one frame, or on equal frames, it is zero-shot CLIP"
    cannot_see = IGNORES_ORDER
    trains: ClassVar[bool] = False
    tasks = ALL_TASKS
    sees_order = False

    class Config(Options):
        """Option of the weights."""

        softmax_temperature: float = Field(
            0.01,
            gt=0,
            description="temperature of the softmax over frames (BIKE: 0.01); a high one weights all frames equally",
        )

    config: Config

    def encode_frames(self, frames_BTD: Tensor) -> Tensor:
        """Return the frame features [B, T, D] unchanged, because the words weight them."""
        return frames_BTD

    def pool_texts(self, words: WordFeatures, table: TextTable) -> ClassTexts:
        """Return the features of the classes and of the words of all their sentences."""
        word_KMLD, mask_KML = class_words(words, table)
        return ClassTexts(super().pool_texts(words, table), word_KMLD.flatten(1, 2), mask_KML.flatten(1))

    def score(self, video: Tensor, text: ClassTexts) -> Tensor:
        """Return the logits [B, K] of frame features [B, T, D] and texts."""
        frames_BTD = F.normalize(video, dim=-1)

        def scores(class_KD: Tensor, word_KWD: Tensor, mask_KW: Tensor) -> Tensor:
            weight_BKT = word_weights(frames_BTD, word_KWD, mask_KW, self.config.softmax_temperature)
            cosine_BKT = torch.einsum("btd,kd->bkt", frames_BTD, F.normalize(class_KD, dim=-1))
            return (weight_BKT * cosine_BKT).sum(-1)

        numbers_per_text = 4 * video.shape[0] * video.shape[1] * text.word_KWD.shape[1]  # cosines in four steps
        return self.backbone.logits(score_in_chunks(scores, text, numbers_per_text))


def word_weights(frames_BTD: Tensor, word_KWD: Tensor, mask_KW: Tensor, temperature: float) -> Tensor:
    """Return the weights [B, K, T] of the frames for each text. They sum to 1 over the frames.

    Frames and words must be normalised. `mask_KW` is true for the words that count.
    """
    cosine_BKWT = torch.einsum("btd,kwd->bkwt", frames_BTD, word_KWD)
    share_KW = mask_KW.to(word_KWD.dtype) / mask_KW.sum(1, keepdim=True)
    return torch.einsum("bkwt,kw->bkt", (cosine_BKWT / temperature).softmax(-1), share_KW)
