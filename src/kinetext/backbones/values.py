"""What a backbone says of itself and of texts: preprocessing, sizes, tokens, and where a parameter is.

K texts, L words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True)
class Preprocess:
    """How frames were prepared when the weights were trained."""

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
    image_gflop: float = 0.0  # arithmetic of encoding an image; 0: unknown
    text_gflop: float = 0.0  # of encoding a text of the context length
    parameters: int = 0  # of the whole model


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
        """Return the tokens of the texts at these rows."""
        return TextTokens(self.ids_KL[rows], self.mask_KL[rows])


def blank_tokens(texts: int) -> TextTokens:
    """Return one token of id 0 per text, for a backbone without a text encoder: [K, 1]."""
    return TextTokens(torch.zeros(texts, 1, dtype=torch.long), torch.ones(texts, 1, dtype=torch.bool))


class ParameterPlace(NamedTuple):
    """Where a parameter is: its part of the model and how deep.

    `image` and `text`: level 0 is the embedding, level k layer k, the level after the last layer what follows it.
    `image_head`: what turns the image encoder's last layer into features. `words`: word embeddings. `scale`: the
    logits' scale and bias.
    """

    part: Literal["image", "image_head", "text", "words", "scale"]
    level: int
