"""open_clip's models with a native ViT and the original CLIP text encoder: ViT-B-32, ViT-B-16, ViT-L-14, ...

Radford et al., ICML 2021; ilharco/open_clip. The weights are downloaded (`pretrained` is a tag of open_clip) or read
from the file, folder or hub name `weights` (weights.py).

B clips, T frames, F frames of all clips, C channels, H x W pixels, N tokens (class token first), S sequences, V visual
width, K texts, L words, D joint width.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from kinetext.backbones import lora
from kinetext.backbones.attention import fused_attention, mlp, project_keys_values, project_qkv
from kinetext.backbones.base import Backbone, Facts, Layer, ParameterPlace, Preprocess, TextTokens
from kinetext.backbones.catalogue import facts_of
from kinetext.backbones.download import hub_state, weights_state
from kinetext.backbones.hub_folder import write_hub_folder
from kinetext.backbones.layer import KeysValues
from kinetext.backbones.library import (
    no_plain_vit,
    open_clip,
    published_settings,
    quiet,
    require_plain_encoders,
    resizers,
    tokenizer_of,
)
from kinetext.backbones.weights import HUB, Source, find_weights, is_openai, load_into, missing, read_weights
from kinetext.core.plugins import Options

LARGEST_SCALE = math.log(100.0)  # CLIP's cap on the logarithm of the inverse temperature


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Architecture:
    """What is needed to build a model of open_clip: the name, the variant of GELU, and the normalisation of frames."""

    model: str
    quick_gelu: bool = False
    mean: tuple[float, ...] | None = None  # None: open_clip's default
    std: tuple[float, ...] | None = None


class ClipLayer(Layer):
    """A residual attention block of open_clip whose attention is one fused call."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.block = block
        self.num_heads = int(block.attn.num_heads)

    def attention(
        self, x_SNV: Tensor, num_queries: int | None = None, extra_keys_values: KeysValues | None = None
    ) -> Tensor:
        attn, x_SNV = self.block.attn, self.block.ln_1(x_SNV)
        query, source = (x_SNV, None) if num_queries is None else (x_SNV[:, :num_queries], x_SNV)
        q, k, v = project_qkv(query, source, attn.in_proj_weight, attn.in_proj_bias)
        if extra_keys_values is not None:
            k, v = (torch.cat(pair, 1) for pair in zip((k, v), extra_keys_values, strict=True))
        return self.block.ls_1(attn.out_proj(fused_attention(q, k, v, attn.num_heads)))

    def keys_values(self, x_SNV: Tensor) -> KeysValues:
        attn = self.block.attn
        return project_keys_values(self.block.ln_1(x_SNV), attn.in_proj_weight, attn.in_proj_bias)

    def mlp(self, x_SNV: Tensor) -> Tensor:
        return self.block.ls_2(mlp(self.block.mlp, self.block.ln_2(x_SNV)))


class OpenClipViT(Backbone):
    """A CLIP of open_clip with a plain ViT and a plain text transformer. Raises ValueError for other encoders."""

    class Config(Options):
        """Options of the architecture and of its weights."""

        model: str = Field(description="open_clip's name of the architecture, e.g. ViT-B-32")
        pretrained: str | None = Field(None, description="open_clip's tag of published weights, e.g. openai")
        weights: str | None = Field(None, description="a file, a folder of the hub, or hf-hub:owner/name")

    prefix_tokens = 1  # the class token

    def __init__(self, built_from: Architecture) -> None:
        settings = open_clip().get_model_config(built_from.model) or {}
        if "timm_model_name" in settings.get("vision_cfg", {}):  # building it would ask for timm
            raise no_plain_vit(built_from.model)
        with quiet():  # open_clip warns that it loads no weights: they come later here
            clip = open_clip().create_model(
                built_from.model, load_weights=False, force_quick_gelu=built_from.quick_gelu
            )
            require_plain_encoders(built_from.model, clip)  # first: other models' tokenizers need packages that we lack
            tokenizer = tokenizer_of(built_from.model)
        defaults = open_clip().get_model_preprocess_cfg(clip)
        mean, std = built_from.mean or defaults["mean"], built_from.std or defaults["std"]
        super().__init__(Preprocess(tuple(mean), tuple(std)))
        self.built_from, self.clip, self.visual, self.tokenizer = built_from, clip, clip.visual, tokenizer
        self.layers = tuple(ClipLayer(block) for block in self.visual.transformer.resblocks)
        self.text_layers = tuple(ClipLayer(block) for block in clip.transformer.resblocks)
        self.num_layers = len(self.layers)
        self.width = int(self.visual.conv1.out_channels)
        self.embed_dim = int(self.visual.proj.shape[1])
        self.image_size_px = int(self.visual.image_size[0])
        self.context_length = int(clip.context_length)
        down, across = self.visual.grid_size
        self.grid = (int(down), int(across))
        self.largest_scale = LARGEST_SCALE
        self.mark_pretrained()

    # making, saving and loading

    @classmethod
    def facts(cls, config: Any) -> Facts:
        if not config.weights and not config.pretrained:
            raise ValueError("give `pretrained` (a tag of open_clip) or `weights` (a file)")
        problem = missing(config.weights) if config.weights else ""
        if problem:
            raise ValueError(f"weights: {problem}")
        return facts_of(config.model)

    @classmethod
    def weights_state(cls, config: Any) -> tuple[str, bool]:
        if config.weights:
            return hub_state(config.weights.removeprefix(HUB)) if config.weights.startswith(HUB) else ("", False)
        return weights_state(config.model, config.pretrained)

    @classmethod
    def prepare(cls, config: Any, seed: int = 0) -> OpenClipViT:
        """Return the model with weights that are given by tag, file, folder or name on the hub.

        Raises ValueError if the tag is unknown, or if the weights do not exist, cannot be read or do not fit.
        """
        model = config.model
        source = find_weights(config.weights) if config.weights else _published(model, config.pretrained)
        tensors = read_weights(source.file)
        quick_gelu = is_openai(tensors) or bool(source.quick_gelu)
        if not quick_gelu and source.quick_gelu is None and f"{model}-quickgelu" in open_clip().list_models():
            log.warning("%s: if these weights are OpenAI's, take model %s-quickgelu", source.file, model)
        backbone = cls(Architecture(model, quick_gelu, source.mean, source.std))
        problem = load_into(backbone.clip, tensors, resizers())
        if problem:
            raise ValueError(f"backbones: {source.file} does not fit {model}: {problem}; is it another architecture's?")
        return backbone

    def architecture(self) -> dict[str, Any]:
        pixels = {"mean": list(self.preprocess.mean), "std": list(self.preprocess.std)}
        return {"model": self.built_from.model, "quick_gelu": self.built_from.quick_gelu, **pixels}

    @classmethod
    def rebuild(cls, architecture: dict[str, Any]) -> OpenClipViT:
        names = ("model", "quick_gelu", "mean", "std")
        return cls(Architecture(*(architecture.get(name) for name in names)))  # type: ignore[arg-type]

    def stored_tensors(self) -> dict[str, Tensor]:
        return dict(self.clip.state_dict())

    def restore(self, tensors: dict[str, Tensor]) -> None:
        self.clip.load_state_dict(tensors)
        self.largest_scale = max(LARGEST_SCALE, float(self.clip.logit_scale.detach()))

    def export(self, folder: Path) -> None:
        write_hub_folder(self.clip, self.built_from.model, self.built_from.quick_gelu, self.preprocess, folder)

    @classmethod
    def token_counter(cls, architecture: dict[str, Any]) -> Callable[[str], int]:
        tokenizer = tokenizer_of(architecture["model"])
        return lambda text: len(tokenizer.encode(text)) + 2

    def depth_of(self, name: str) -> ParameterPlace:
        parts = name.removeprefix("clip.").split(".")
        if parts[0] == "logit_scale" or parts[0] == "logit_bias":
            return ParameterPlace("scale", 0)
        if parts[0] == "token_embedding":
            return ParameterPlace("words", 0)
        side, parts = ("image", parts[1:]) if parts[0] == "visual" else ("text", parts)
        after = 1 + len(self.layers if side == "image" else self.text_layers)
        if parts[0] == "transformer":
            return ParameterPlace(side, 1 + int(parts[2]))  # type: ignore[arg-type]
        if parts[0] in ("conv1", "class_embedding", "positional_embedding", "ln_pre"):
            return ParameterPlace(side, 0)  # type: ignore[arg-type]
        return ParameterPlace("image_head" if side == "image" else "text", after)

    def add_lora(self, encoder: Literal["image", "text"], rank: int, alpha: float) -> None:
        """Add LoRA to the projections of queries, keys and values in every layer of an encoder."""
        layers = self.layers if encoder == "image" else self.text_layers
        blocks: list[Any] = [layer.block for layer in layers]
        lora.add(((block.attn, lora.WEIGHT, 3) for block in blocks), rank, alpha)

    def merge_lora(self) -> None:
        """Add the low-rank products of LoRA to the weights."""
        lora.merge(self)

    def use_channels_last(self) -> None:
        self.visual.conv1.to(memory_format=torch.channels_last)

    # images

    def embed(self, frames_FCHW: Tensor) -> Tensor:
        return self.visual._embeds(frames_FCHW)

    def embeddings(self) -> tuple[Tensor, Tensor, Tensor]:
        positions_NV = self.visual.positional_embedding
        return self.visual.class_embedding, positions_NV[0], positions_NV[1:]

    def summary(self, tokens_BTNV: Tensor) -> Tensor:
        """Return the class token."""
        return tokens_BTNV[..., 0, :]

    def project(self, summary_BTV: Tensor) -> Tensor:
        return self.visual.ln_post(summary_BTV) @ self.visual.proj

    def new_layer(self, width: int, num_heads: int) -> Layer:
        block = self.clip.transformer.resblocks[0]
        return ClipLayer(type(block)(width, num_heads, act_layer=type(block.mlp.gelu)))

    # texts

    def tokenize(self, texts: list[str]) -> TextTokens:
        ids_KL = self.tokenizer(texts, context_length=self.context_length)
        lengths_K = torch.tensor([len(self.tokenizer.encode(text)) + 2 for text in texts])
        cut = int((lengths_K > self.context_length).sum())
        if cut:
            log.warning("%d of %d texts are over %d tokens and were cut", cut, len(texts), self.context_length)
        longest = min(int(lengths_K.max()), self.context_length)
        return TextTokens(ids_KL[:, :longest], torch.arange(longest) < lengths_K[:, None])

    def encode_text(self, tokens: TextTokens) -> tuple[Tensor, Tensor]:
        """Return (text features [K, D], word features [K, L, D]).

        Padding after the end token has no effect on the text features, because the attention is causal.
        """
        L = tokens.ids_KL.shape[1]
        x_KLW = self.clip.token_embedding(tokens.ids_KL) + self.clip.positional_embedding[:L]
        x_KLW = self.clip.transformer(x_KLW, attn_mask=self.clip.attn_mask[:L, :L])
        words_KLD = self.clip.ln_final(x_KLW) @ self.clip.text_projection
        row_K = torch.arange(len(words_KLD), device=words_KLD.device)
        return words_KLD[row_K, tokens.length_K - 1], words_KLD

    def text_positions(self) -> Tensor:
        return self.clip.positional_embedding

    # scores

    def logits(self, cosines: Tensor) -> Tensor:
        return self.clip.logit_scale.exp() * cosines

    def set_temperature(self, temperature: float) -> None:
        with torch.no_grad():
            self.clip.logit_scale.fill_(-math.log(temperature))

    def clamp_scale(self) -> None:
        with torch.no_grad():
            self.clip.logit_scale.clamp_(max=self.largest_scale)


def _published(model: str, tag: str | None) -> Source:
    """Return the weights file of an open_clip tag, downloaded if necessary. Raises ValueError if the tag is unknown."""
    settings = published_settings(model, tag)
    mean, std = (tuple(settings[key]) if settings.get(key) else None for key in ("mean", "std"))
    file = Path(open_clip().download_pretrained(settings))
    return Source(file, bool(settings.get("quick_gelu", False)), mean, std)
