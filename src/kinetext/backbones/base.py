"""The contract of a backbone: an image-text model that methods use layer by layer.

A family of models is one class here (`open_clip_vit`, `tiny`) that extends `Backbone`. Whatever depends on the family's code
belongs to it: names of parameters, where the class token is, how texts are padded and where they end. With no method on top
`encode_frames` and `encode_text` equal the library's own `encode_image` and `encode_text` (tests/parity/test_backbone.py).

B clips, T frames, F frames of all clips, C channels, H x W pixels, N tokens of a frame (prefix tokens first, then patches
row by row), S sequences, V visual width, K texts, L words, D joint width.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from kinetext.core.plugins import Options

Through = Callable[[int, "Layer", Tensor], Tensor]  # (number of the layer from 1, the layer, x_BTNV) -> x_BTNV
KeysValues = tuple[Tensor, Tensor]  # projected keys and values, [S, N, V] each


@dataclass(frozen=True)
class Preprocess:
    """How the pixels that the weights were trained with were prepared."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    resize_mode: Literal["shortest", "squash"] = "shortest"


@dataclass(frozen=True)
class Facts:
    """What is known of a model without building it."""

    image_size_px: int
    num_layers: int
    context_length: int


class TextTokens(NamedTuple):
    """Token ids [K, L] and a mask [K, L]: true from the first token to the end token, false for padding."""

    ids_KL: Tensor
    mask_KL: Tensor

    @property
    def length_K(self) -> Tensor:
        """Tokens of each text, start and end token included."""
        return self.mask_KL.sum(-1)

    def columns(self, length: int) -> TextTokens:
        """Return the first `length` columns."""
        return TextTokens(self.ids_KL[:, :length], self.mask_KL[:, :length])

    def take(self, rows: Tensor | slice) -> TextTokens:
        """Return some of the texts."""
        return TextTokens(self.ids_KL[rows], self.mask_KL[rows])


class ParameterPlace(NamedTuple):
    """Where a parameter is: its part of the model and how deep.

    `image` and `text`: level 0 is the embedding, level k layer k, the level after the last layer what follows it. `image_head`:
    what turns the image encoder's last layer into features. `words`: word embeddings. `scale`: the logits' scale and bias.
    """

    part: Literal["image", "image_head", "text", "words", "scale"]
    level: int


class Layer(nn.Module):
    """A transformer layer whose two branches can be called on their own, so that a method can put something between them."""

    num_heads: int

    def attention(
        self, x_SNV: Tensor, num_queries: int | None = None, extra_keys_values: KeysValues | None = None
    ) -> Tensor:
        """Return what the attention branch adds, [S, Q, V].

        `num_queries`: only the first tokens ask, all are keys. `extra_keys_values`: further keys and values, as
        `keys_values` returns them; zeros are keys like any other.
        """
        raise NotImplementedError

    def keys_values(self, x_SNV: Tensor) -> KeysValues:
        """Return the projected keys and values of the attention branch."""
        raise NotImplementedError

    def mlp(self, x_SNV: Tensor) -> Tensor:
        """Return what the MLP branch adds, [..., V]."""
        raise NotImplementedError

    def forward(self, x_SNV: Tensor) -> Tensor:
        """Return the layer's output, [S, N, V]."""
        x_SNV = x_SNV + self.attention(x_SNV)
        return x_SNV + self.mlp(x_SNV)


class Backbone(nn.Module):
    """An image-text model, layer by layer. A subclass sets the attributes and overrides what raises NotImplementedError."""

    Config: ClassVar[type[Options]] = Options
    has_text = True  # false: an image or video encoder alone, for methods that need no text
    sees_padding = False  # true: padding changes a text's feature, so texts are never cut to the longest of a batch

    num_layers: int
    width: int  # V
    embed_dim: int  # D
    grid: tuple[int, int]  # patches down, patches across
    prefix_tokens: int  # tokens before the patches: the class token, registers
    image_size_px: int
    context_length: int  # tokens of the longest text
    layers: tuple[Layer, ...]  # of the image encoder; a tuple, so that parameters keep the library's names
    text_layers: tuple[Layer, ...]
    gradient_checkpointing = False  # of the image encoder's layers (training.gradient_checkpointing)

    mean_C: Tensor
    std_C: Tensor

    def __init__(self, preprocess: Preprocess) -> None:
        super().__init__()
        self.preprocess = preprocess
        self.register_buffer("mean_C", torch.tensor(preprocess.mean), persistent=False)
        self.register_buffer("std_C", torch.tensor(preprocess.std), persistent=False)

    # making, saving and loading

    @classmethod
    def facts(cls, config: Any) -> Facts:
        """Return what check-config needs to know, in milliseconds. Raises ValueError for a model that the family lacks."""
        raise NotImplementedError

    @classmethod
    def prepare(cls, config: Any, seed: int = 0) -> Backbone:
        """Return the model with its weights: downloaded, read from a file, or trained. Raises ValueError."""
        raise NotImplementedError

    @classmethod
    def rebuild(cls, architecture: dict[str, Any]) -> Backbone:
        """Return the model that `architecture()` described, its weights still random."""
        raise NotImplementedError

    def architecture(self) -> dict[str, Any]:
        """Return plain values that `rebuild` makes the same model from."""
        raise NotImplementedError

    def stored_tensors(self) -> dict[str, Tensor]:
        """Return what is written to weights.safetensors."""
        return dict(self.state_dict())

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `stored_tensors` returned."""
        self.load_state_dict(tensors)

    @classmethod
    def token_counter(cls, architecture: dict[str, Any]) -> Callable[[str], int]:
        """Return a function that counts a text's tokens, uncut, start and end token included."""
        raise NotImplementedError

    def mark_pretrained(self) -> None:
        """Mark the parameters that are the backbone's own; what is added later is new. Each family calls it once built."""
        for parameter in self.parameters():
            parameter.is_pretrained = True  # type: ignore[attr-defined]

    def depth_of(self, name: str) -> ParameterPlace:
        """Return where a parameter of this name (of `named_parameters` of the backbone) is."""
        raise NotImplementedError

    def add_lora(self, encoder: Literal["image", "text"], rank: int, alpha: float) -> None:
        """Add low-rank matrices to the attention of every layer of an encoder; they are new parameters."""
        raise NotImplementedError(f"{type(self).__name__} has no LoRA")

    def merge_lora(self) -> None:
        """Put the low-rank matrices into the weights, which count as trained from then on; without any nothing changes."""

    def use_channels_last(self) -> None:
        """Store the patch embedding in the memory format that tensor cores take; a family without one does nothing."""

    # images

    def normalize(self, frames_BTCHW: Tensor) -> Tensor:
        """Return uint8 frames (0 to 255) as floats with the model's mean and deviation; floats are returned as they are."""
        if frames_BTCHW.dtype != torch.uint8:
            return frames_BTCHW
        mean, std = (c.view(-1, 1, 1) for c in (self.mean_C, self.std_C))
        return (frames_BTCHW.to(next(self.parameters()).dtype) / 255.0 - mean) / std

    def embed(self, frames_FCHW: Tensor) -> Tensor:
        """Return the input [F, N, V] of the first layer from normalised frames."""
        raise NotImplementedError

    def embeddings(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the class embedding [V], its position [V] and the patches' positions [h * w, V]; zeros where there are none."""
        raise NotImplementedError

    def visual_tokens(
        self, frames_BTCHW: Tensor, layers: tuple[int, ...], through: Through | None = None
    ) -> dict[int, Tensor]:
        """Return the tokens [B, T, N, V] after each of the named layers, 1 to num_layers; 0 is the first layer's input.

        `through` runs in the place of each layer, for methods that work inside the encoder. Raises ValueError for frames of
        another size than the model takes.
        """
        B, T = frames_BTCHW.shape[:2]
        if frames_BTCHW.shape[-2:] != (self.image_size_px, self.image_size_px):
            size = "x".join(str(n) for n in frames_BTCHW.shape[-2:])
            raise ValueError(f"frames are {size} px, the backbone takes {self.image_size_px}; extract them again")
        x_FNV = self.embed(self.normalize(frames_BTCHW).flatten(0, 1))
        tokens = {0: x_FNV} if 0 in layers else {}
        for number, layer in enumerate(self.layers[: max(layers)], start=1):
            if through is None:
                x_FNV = self._run(layer, x_FNV)
            else:
                x_FNV = self._run(through, number, layer, x_FNV.unflatten(0, (B, T))).flatten(0, 1)
            if number in layers:
                tokens[number] = x_FNV
        return {number: x.unflatten(0, (B, T)) for number, x in tokens.items()}

    def _run(self, function: Callable[..., Tensor], *inputs: Any) -> Tensor:
        return checkpointed(function, *inputs) if self.gradient_checkpointing else function(*inputs)

    def summary(self, tokens_BTNV: Tensor) -> Tensor:
        """Return each frame's summary [..., V]: the class token, or attention pooling's output where there is none."""
        raise NotImplementedError

    def patches(self, tokens_BTNV: Tensor) -> Tensor:
        """Return the patch tokens [..., h * w, V], without the prefix tokens."""
        return tokens_BTNV[..., self.prefix_tokens :, :]

    def project(self, summary_BTV: Tensor) -> Tensor:
        """Return features [..., D] of the joint space from summaries [..., V] of the last layer."""
        raise NotImplementedError

    def encode_frames(self, frames_BTCHW: Tensor) -> Tensor:
        """Return frame features [B, T, D], not normalised."""
        tokens = self.visual_tokens(frames_BTCHW, (self.num_layers,))
        return self.project(self.summary(tokens[self.num_layers]))

    def new_layer(self, width: int, num_heads: int) -> Layer:
        """Return a layer of this family's kind, drawn at random."""
        raise NotImplementedError

    # texts

    def tokenize(self, texts: list[str]) -> TextTokens:
        """Return the texts' tokens. A text over the context length is cut before its end token, with a warning."""
        raise NotImplementedError

    def encode_text(self, tokens: TextTokens) -> tuple[Tensor, Tensor]:
        """Return text features [K, D], not normalised, and the features of every word [K, L, D] in the same space."""
        raise NotImplementedError

    def text_positions(self) -> Tensor:
        """Return the text encoder's position embeddings [L, W]."""
        raise NotImplementedError

    # scores

    def logits(self, cosines: Tensor) -> Tensor:
        """Return cosines times the learned scale, plus the bias where the family has one."""
        raise NotImplementedError

    def set_temperature(self, temperature: float) -> None:
        """Divide cosines by this from now on, instead of by the temperature of the weights."""
        raise NotImplementedError

    def clamp_scale(self) -> None:
        """Keep the scale at most at 100, CLIP's largest, or at the loaded weights' value if that is larger; after a step."""
        raise NotImplementedError


def copy_layer(layer: Layer) -> Layer:
    """Return a copy of a layer; its parameters are new, and they train."""
    return deepcopy(layer).requires_grad_(True)


def checkpointed(function: Callable[..., Any], *inputs: Any) -> Any:
    """Return `function(*inputs)`; its inner results are computed again in the backward pass instead of being kept."""
    from torch.utils.checkpoint import checkpoint

    return checkpoint(function, *inputs, use_reentrant=False)
