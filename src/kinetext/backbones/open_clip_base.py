"""Common parts of all models of open_clip: weights, texts, scale and bias of the logits.

mlfoundations/open_clip 3.3. The families are open_clip_vit.py (its own ViT) and timm_vit.py (a ViT of timm).

K texts, L words, D joint width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from kinetext.backbones import lora
from kinetext.backbones.base import Backbone, TextTokens
from kinetext.backbones.catalogue import settings_of
from kinetext.backbones.download import hub_state, weights_state
from kinetext.backbones.library import open_clip
from kinetext.backbones.text_tokens import TENSOR, Tokenizer, counter_of, tokenize, tokenizer_tensors, with_content
from kinetext.backbones.weights import missing
from kinetext.config.backbone import HUB
from kinetext.core.plugins import Options

LARGEST_SCALE = math.log(100.0)  # CLIP's maximum of the logarithm of the inverse temperature


class OpenClipModel(Backbone):
    """A model of open_clip. A subclass builds `clip` and implements the image encoder."""

    class Config(Options):
        """Options of the architecture and of its weights."""

        model: str = Field(description="open_clip's name of the architecture, e.g. ViT-B-32")
        pretrained: str | None = Field(None, description="open_clip's tag of published weights, e.g. openai")
        weights: str | None = Field(None, description="a file, a folder of the hub, or hf-hub:owner/name")

    model: str  # open_clip's name of the architecture
    clip: Any
    text: Any  # the text encoder, which is `clip` itself in the original layout
    tokenizer: Tokenizer | None
    largest_scale: float = LARGEST_SCALE

    @classmethod
    def require_weights(cls, config: Any) -> None:
        """Raise ValueError if the options name no weights, or weights that do not exist."""
        if not config.weights and not config.pretrained:
            raise ValueError("give `pretrained` (a tag of open_clip) or `weights` (a file)")
        problem = missing(config.weights) if config.weights else ""
        if problem:
            raise ValueError(f"weights: {problem}")

    @classmethod
    def weights_state(cls, config: Any) -> tuple[str, bool]:
        if not config.weights:
            return weights_state(config.model, config.pretrained)
        if not config.weights.startswith(HUB):
            return "", False
        return hub_state(config.weights.removeprefix(HUB))

    def stored_tensors(self) -> dict[str, Tensor]:
        return {**self.clip.state_dict(), **tokenizer_tensors(self.tokenizer)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        self.clip.load_state_dict({name: tensor for name, tensor in tensors.items() if name != TENSOR})
        self.tokenizer = with_content(self.tokenizer, tensors)
        self.keep_scale()

    def keep_scale(self) -> None:
        """Raise the limit of the logit scale to its present value if that exceeds CLIP's maximum."""
        self.largest_scale = max(LARGEST_SCALE, float(self.clip.logit_scale.detach()))

    def merge_lora(self) -> None:
        """Add the low-rank products of LoRA to the weights."""
        lora.merge(self)

    # texts

    @classmethod
    def token_counter(cls, architecture: dict[str, Any]) -> Callable[[str], int]:
        return counter_of(architecture, text_settings(architecture["model"]))

    def tokenize(self, texts: list[str]) -> TextTokens:
        if self.tokenizer is None:
            raise ValueError(f"backbones: {self.model} was built without its tokenizer; load a prepared backbone")
        return tokenize(self.tokenizer, texts, self.context_length, self.sees_padding)

    def text_positions(self) -> Tensor:
        return self.text.positional_embedding[: self.context_length]  # CoCa has one more position, for its class token

    # scores

    def logits(self, cosines: Tensor) -> Tensor:
        scaled = self.clip.logit_scale.exp() * cosines
        return scaled if self.clip.logit_bias is None else scaled + self.clip.logit_bias

    def set_temperature(self, temperature: float) -> None:
        with torch.no_grad():
            self.clip.logit_scale.fill_(-math.log(temperature))

    def clamp_scale(self) -> None:
        with torch.no_grad():
            self.clip.logit_scale.clamp_(max=self.largest_scale)


def text_settings(model: str) -> dict[str, Any]:
    """Return the configuration of a model's text encoder."""
    return (open_clip().get_model_config(model) or settings_of(model))["text_cfg"]
