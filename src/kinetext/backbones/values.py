"""Values that a backbone returns: preprocessing, sizes, tokens, and the place of a parameter.

K texts, L words.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Preprocess:
    """The preprocessing of images with which the weights were trained."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    resize_mode: Literal["shortest", "squash"] = "shortest"


@dataclass(frozen=True)
class Facts:
    """Sizes of a model that are known without building it."""

    image_size_px: int
    num_layers: int
    context_length: int
    image_gflop: float = 0.0  # cost of encoding an image; 0: unknown
    text_gflop: float = 0.0  # of encoding a text of the context length
    parameters: int = 0  # of the whole model
    interpolation: str = "bicubic"  # of the frames, as in Preprocess
    resize_mode: str = "shortest"
    frames_per_step: int = 1  # of a video encoder: frames per step of tokens
    num_frames: int | None = None  # frames that every clip must have; None: any multiple of frames_per_step

    def frames_problem(self, num_frames: int) -> str:
        """Return why the model cannot encode clips of `num_frames` frames, or ""."""
        if self.num_frames is not None and num_frames != self.num_frames:
            return f"takes clips of exactly {self.num_frames} frames, not {num_frames}"
        if num_frames % self.frames_per_step:
            return f"takes clips of a multiple of {self.frames_per_step} frames, not {num_frames}"
        return ""


class TextTokens(NamedTuple):
    """Token ids [K, L] and a mask [K, L]: true from the first token to the end token, false for padding."""

    ids_KL: Tensor
    mask_KL: Tensor

    @property
    def length_K(self) -> Tensor:
        """The number of tokens of each text [K], with start and end token."""
        return self.mask_KL.sum(-1)

    def columns(self, length: int) -> TextTokens:
        """Return the first `length` tokens of each text."""
        return TextTokens(self.ids_KL[:, :length], self.mask_KL[:, :length])

    def take(self, rows: Tensor | slice) -> TextTokens:
        """Return the tokens of the texts at the given rows."""
        return TextTokens(self.ids_KL[rows], self.mask_KL[rows])


def insert_blanks(tokens: TextTokens, count: int, longest: int) -> TextTokens:
    """Return the tokens with `count` placeholders after the start token; their ids have no meaning.

    A text with more than `longest` tokens is cut before the end token, with a warning.
    """
    ids_KL, mask_KL = (
        torch.cat([part[:, :1], part.new_ones(len(part), count), part[:, 1:]], 1)
        for part in (tokens.ids_KL, tokens.mask_KL)
    )
    if ids_KL.shape[1] <= longest:
        return TextTokens(ids_KL, mask_KL)
    length_K = mask_KL.sum(-1)
    cut_K = length_K > longest
    if int(cut_K.sum()):
        log.warning(
            "%d of %d texts are over %d tokens with prompts and were cut", int(cut_K.sum()), len(cut_K), longest
        )
    ends_K = ids_KL.gather(1, length_K[:, None] - 1)[:, 0]
    last_K = torch.where(cut_K, ends_K, ids_KL[:, longest - 1])
    return TextTokens(torch.cat([ids_KL[:, : longest - 1], last_K[:, None]], 1), mask_KL[:, :longest])


def blank_tokens(texts: int) -> TextTokens:
    """Return tokens [K, 1] with id 0, for a backbone without a text encoder."""
    return TextTokens(torch.zeros(texts, 1, dtype=torch.long), torch.ones(texts, 1, dtype=torch.bool))


class ParameterPlace(NamedTuple):
    """The part of the model that a parameter belongs to, and its depth in that part (`level`).

    In the parts `image` and `text`, level 0 is the embedding and level k is layer k; in `text`, the level after the
    last layer is the final norm and projection. `image_head` is the norm and projection after the last layer of the
    image encoder. `words` is the word embeddings, `scale` the scale and bias of the logits.
    """

    part: Literal["image", "image_head", "text", "words", "scale"]
    level: int
