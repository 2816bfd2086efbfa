"""The interface of a backbone: an image-text model that methods use layer by layer.

Each family of models (`open_clip_vit`, `tiny`) is a subclass of `Backbone`. The subclass hides everything specific to
the library of the family: parameter names, the position of the class token, the padding and the end of texts. A video
encoder (`across_frames`, hf_video.py) has T' = T / frames_per_step steps of tokens instead of T frames:
`visual_tokens`, `summary` and `encode_frames` return [B, T', ...]. It has no `embed`, `embeddings` and `layers`, and
methods that work inside the encoder cannot use it.

`encode_frames` and `encode_text` equal the library's `encode_image` and `encode_text` (tests/parity/test_backbone.py).

B clips, T frames, F frames of all clips, C channels, H x W pixels, N tokens of a frame (prefix tokens first, then
patches row by row), S sequences, V visual width, K texts, L words, D joint width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from kinetext.backbones.layer import Layer, checkpointed
from kinetext.backbones.values import Facts, ParameterPlace, Preprocess, TextTokens
from kinetext.core.plugins import Options

Through = Callable[[int, "Layer", Tensor], Tensor]  # (number of the layer from 1, the layer, x_BTNV) -> x_BTNV
Change = Callable[[Tensor], Tensor]  # tokens -> tokens, possibly more per frame


class Backbone(nn.Module):
    """An image-text model that methods can use layer by layer.

    A subclass sets the attributes below and overrides every method that raises NotImplementedError.
    """

    Config: ClassVar[type[Options]] = Options
    has_text: ClassVar[bool] = True  # false: an image or video encoder alone, for methods that need no text
    across_frames: ClassVar[bool] = False  # true: a video encoder, whose tokens depend on all frames of the clip
    pools_patches = False  # true: `summary` reads the patches too (attention pooling)
    takes_prompts = False  # true: `encode_text` inserts prompts
    sees_padding = False  # true: padding changes a text's feature, so texts are never trimmed to the longest in a batch

    num_layers: int
    width: int  # V
    embed_dim: int  # D
    grid: tuple[int, int]  # patches down, patches across
    prefix_tokens: int  # tokens before the patches: the class token, registers
    image_size_px: int
    context_length: int  # tokens of the longest text
    layers: tuple[Layer, ...]  # of the image encoder; a tuple, so that parameters keep the library's names
    text_layers: tuple[Layer, ...]
    frames_per_step: int = 1  # of a video encoder: frames per step of tokens
    num_frames: int | None = (
        None  # of a video encoder: frames that a clip must have; None: multiples of frames_per_step
    )
    has_bias = False  # true: `logits` adds a bias, which the weights were trained with (SigLIP)
    gradient_checkpointing = False  # of the image encoder's layers (training.gradient_checkpointing)

    mean_C: Tensor
    std_C: Tensor

    def __init__(self, preprocess: Preprocess) -> None:
        super().__init__()
        self.preprocess = preprocess
        self.register_buffer("mean_C", torch.tensor(preprocess.mean), persistent=False)
        self.register_buffer("std_C", torch.tensor(preprocess.std), persistent=False)

    # building, saving and loading

    @classmethod
    def facts(cls, config: Any) -> Facts:
        """Return image size, number of layers, context length and cost, without building the model (milliseconds).

        Raises ValueError if the family has no such model, or if facts on the hub cannot be downloaded.
        """
        raise NotImplementedError

    @classmethod
    def prepared_facts(cls, config: Any, architecture: dict[str, Any]) -> Facts:
        """Return the facts of prepared weights from the content of their backbone.yaml, without the network."""
        return cls.facts(config)

    @classmethod
    def prepare(cls, config: Any, seed: int = 0) -> Backbone:
        """Return the model with weights that are downloaded, read from a file, or trained with `seed`.

        Raises ValueError if the weights do not exist or do not fit.
        """
        raise NotImplementedError

    @classmethod
    def weights_state(cls, config: Any) -> tuple[str, bool]:
        """Return (note about the weights, whether they are unavailable). The note may be ""."""
        return "", False

    @classmethod
    def rebuild(cls, architecture: dict[str, Any]) -> Backbone:
        """Return a model with random weights, built from the result of `architecture()`."""
        raise NotImplementedError

    def architecture(self) -> dict[str, Any]:
        """Return a description of the model as plain values (for YAML), from which `rebuild` can build it."""
        raise NotImplementedError

    def stored_tensors(self) -> dict[str, Tensor]:
        """Return the tensors that are written to weights.safetensors, by name."""
        return dict(self.state_dict())

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Load the tensors that `stored_tensors` returned."""
        self.load_state_dict(tensors)

    def export(self, folder: Path) -> None:
        """Write the model as a folder that open_clip loads, in the layout of the Hugging Face hub.

        `restore` also takes the tensors of that folder. Raises ValueError if this is not an open_clip model.
        """
        raise ValueError(f"export: {type(self).__name__} is no model of open_clip; take the format onnx")

    @classmethod
    def token_counter(cls, architecture: dict[str, Any]) -> Callable[[str], int]:
        """Return a function that counts the tokens of a text, with start and end token and without truncation.

        `architecture` is the content of backbone.yaml and its folder (`read_architecture`).
        """
        raise NotImplementedError

    def mark_pretrained(self) -> None:
        """Mark all present parameters as pretrained. Parameters that are added later count as new.

        Every subclass calls this at the end of `__init__`.
        """
        for parameter in self.parameters():
            parameter.is_pretrained = True  # type: ignore[attr-defined]

    def depth_of(self, name: str) -> ParameterPlace:
        """Return the part and the depth of a parameter in the model. `name` is its name in `named_parameters`."""
        raise NotImplementedError

    def add_lora(self, encoder: Literal["image", "text"], rank: int, alpha: float, dropout: float = 0.0) -> None:
        """Add trainable low-rank matrices (LoRA) to the attention of every layer of an encoder, as new parameters.

        `dropout` is the dropout rate on the input of the matrices in training.
        """
        raise NotImplementedError(f"{type(self).__name__} has no LoRA")

    def merge_lora(self) -> None:
        """Add the low-rank matrices to the weights and mark the weights as trained. Without LoRA nothing changes."""

    def use_channels_last(self) -> None:
        """Store the patch embedding in channels-last format, which is faster on GPUs. The default does nothing."""

    # images

    def normalize(self, frames_BTCHW: Tensor) -> Tensor:
        """Return uint8 frames (0 to 255) as floats, normalised with the mean and standard deviation of `preprocess`.

        Floating-point frames are returned unchanged.
        """
        if frames_BTCHW.dtype != torch.uint8:
            return frames_BTCHW
        mean, std = (c.view(-1, 1, 1) for c in (self.mean_C, self.std_C))
        return (frames_BTCHW.to(next(self.parameters()).dtype) / 255.0 - mean) / std

    def require_frames(self, resize_mode: str, interpolation: str) -> None:
        """Raise ValueError unless stored frames were resized as the weights require."""
        stored = {"resize_mode": resize_mode, "interpolation": interpolation}
        for name, value in stored.items():
            needed = getattr(self.preprocess, name)
            if value != needed:
                raise ValueError(
                    f"frames were stored with {name}: {value}, and the weights of the backbone need {needed}; "
                    f"remove frames.{name} from the data set and run again"
                )

    def embed(self, frames_FCHW: Tensor, change: Change | None = None) -> Tensor:
        """Return the input [F, N, V] of the first layer for normalised frames.

        `change` is applied to the tokens with their positions, before the norm that may precede the first layer. It may
        add tokens after the patches.
        """
        raise NotImplementedError

    def embeddings(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return (class embedding [V], position of the class token [V], positions of the patches [h * w, V]).

        A model that lacks one of these returns zeros for it.
        """
        raise NotImplementedError

    def visual_tokens(
        self,
        frames_BTCHW: Tensor,
        layers: tuple[int, ...],
        through: Through | None = None,
        change: Change | None = None,
    ) -> dict[int, Tensor]:
        """Return the tokens [B, T, N, V] after each of `layers`, by layer number.

        Layers are numbered from 1; 0 is the input of the first layer. For methods that change the encoder, `through` is
        called in place of each layer, and `change` on the tokens [B, T, N, V] inside `embed`. Raises ValueError if the
        frames do not have the size `image_size_px`.
        """
        B, T = frames_BTCHW.shape[:2]
        if frames_BTCHW.shape[-2:] != (self.image_size_px, self.image_size_px):
            size = "x".join(str(n) for n in frames_BTCHW.shape[-2:])
            raise ValueError(f"frames are {size} px, the backbone takes {self.image_size_px}; extract them again")
        frames_FCHW = self.normalize(frames_BTCHW).flatten(0, 1)
        if change is None:
            x_FNV = self.embed(frames_FCHW)
        else:
            x_FNV = self.embed(frames_FCHW, lambda x: change(x.unflatten(0, (B, T))).flatten(0, 1))
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
        """Return the summary [..., V] of each frame: the class token, or the output of attention pooling."""
        raise NotImplementedError

    def patches(self, tokens_BTNV: Tensor) -> Tensor:
        """Return the patch tokens [..., h * w, V], without the prefix tokens."""
        return tokens_BTNV[..., self.prefix_tokens :, :]

    def project(self, summary_BTV: Tensor) -> Tensor:
        """Return features [..., D] in the joint space for summaries [..., V] of the last layer."""
        raise NotImplementedError

    def encode_frames(self, frames_BTCHW: Tensor) -> Tensor:
        """Return frame features [B, T, D], not normalised; for a video encoder, one per step of tokens [B, T', D]."""
        tokens = self.visual_tokens(frames_BTCHW, (self.num_layers,))
        return self.project(self.summary(tokens[self.num_layers]))

    def new_layer(self, width: int, num_heads: int) -> Layer:
        """Return a layer of the type that this family uses, with random weights."""
        raise NotImplementedError

    # texts

    def tokenize(self, texts: list[str]) -> TextTokens:
        """Return the tokens of the texts.

        A text that is longer than the context is cut before the end token, with a warning.
        """
        raise NotImplementedError

    def encode_text(self, tokens: TextTokens, prompts: Sequence[Tensor] = ()) -> tuple[Tensor, Tensor]:
        """Return (text features [K, D], word features [K, L, D]) in the joint space, not normalised.

        `prompts` are vectors [P, W] for the first layers of the text encoder, which has width W. The first ones are
        inserted after the start token, and the others replace them before layers 2, 3, ... The words shift by P
        positions; a text that no longer fits the context is cut before the end token, with a warning. Word features
        have no rows for the inserted vectors. Prompts are passed only if `takes_prompts`.
        """
        raise NotImplementedError

    def text_positions(self) -> Tensor:
        """Return the position embeddings [L, W] of the text encoder, which has width W."""
        raise NotImplementedError

    # scores

    def logits(self, cosines: Tensor) -> Tensor:
        """Return the cosines times the learned scale, plus the learned bias if the model has one."""
        raise NotImplementedError

    def set_temperature(self, temperature: float) -> None:
        """Set the scale of `logits` to 1 / temperature."""
        raise NotImplementedError

    def clamp_scale(self) -> None:
        """Limit the scale of `logits` to 100, the maximum of CLIP, or to the pretrained scale if that is larger.

        Called after each step of the optimizer.
        """
        raise NotImplementedError
