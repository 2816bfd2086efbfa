"""The contract of a backbone: an image-text model that methods use layer by layer.

A family of models is one class here (`open_clip_vit`, `tiny`) that extends `Backbone`. Whatever depends on the family's code
belongs to it: names of parameters, where the class token is, how texts are padded and where they end. With no method on top
`encode_frames` and `encode_text` equal the library's own `encode_image` and `encode_text` (tests/parity/test_backbone.py).

B clips, T frames, F frames of all clips, C channels, H x W pixels, N tokens of a frame (prefix tokens first, then patches
row by row), S sequences, V visual width, K texts, L words, D joint width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from kinetext.backbones.layer import Layer, checkpointed
from kinetext.backbones.values import Facts, ParameterPlace, Preprocess, TextTokens
from kinetext.core.plugins import Options

Through = Callable[[int, "Layer", Tensor], Tensor]  # (number of the layer from 1, the layer, x_BTNV) -> x_BTNV


class Backbone(nn.Module):
    """An image-text model, layer by layer. A subclass sets the attributes and overrides what raises NotImplementedError."""

    Config: ClassVar[type[Options]] = Options
    has_text: ClassVar[bool] = True  # false: an image or video encoder alone, for methods that need no text
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
