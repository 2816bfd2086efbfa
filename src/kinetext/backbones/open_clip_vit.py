"""open_clip's models with a native ViT: CLIP (ViT-B-32, ViT-B-16, ...), CLIPA, MetaCLIP 2 (`worldwide`), CoCa.

Radford et al., ICML 2021; Li et al., NeurIPS 2023; Chuang et al., 2025; Yu et al., TMLR 2022; mlfoundations/open_clip
3.3. The weights are downloaded (`pretrained` is a tag of open_clip) or read from the file, folder or hub name `weights`
(weights.py).

A frame's summary is the class token, or the pooled tokens of CLIPA and CoCa (native_pooling.py). After an intermediate
layer, the same pooling is applied to its tokens.

B clips, T frames, F frames of all clips, C channels, H x W pixels, N tokens (class token first), S sequences, V visual
width, K texts, L words, D joint width.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from kinetext.backbones import lora
from kinetext.backbones.base import Change, Facts, Layer, ParameterPlace, Preprocess, TextTokens
from kinetext.backbones.catalogue import settings_of
from kinetext.backbones.clip_layer import ClipLayer
from kinetext.backbones.hub_folder import write_hub_folder
from kinetext.backbones.library import DECODER, build_native, open_clip, published_settings, resizers
from kinetext.backbones.native_models import facts_of, refuse_unsupported
from kinetext.backbones.native_pooling import encode_words_with_class, project_summary, summarize
from kinetext.backbones.open_clip_base import OpenClipModel, text_settings
from kinetext.backbones.text_tokens import (
    ClipTokenizer,
    Tokenizer,
    find_tokenizer,
    tokenizer_from,
    tokenizer_settings,
)
from kinetext.backbones.text_tower import encode_words, sees_padding
from kinetext.backbones.timm_models import preprocess_of, with_settings
from kinetext.backbones.weights import Source, find_weights, is_openai, load_into, preprocess_cfg_of, read_weights

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Architecture:
    """The parameters of a model of open_clip: the name, the variant of GELU, preprocessing and tokenizer."""

    model: str
    quick_gelu: bool = False
    preprocess: Preprocess | None = None  # None: that of the published weights
    tokenizer: Tokenizer | None = None  # None: CLIP's


class OpenClipViT(OpenClipModel):
    """A model of open_clip with its own ViT and text encoder. Raises ValueError for other encoders."""

    prefix_tokens = 1  # the class token

    def __init__(self, built_from: Architecture) -> None:
        clip = build_native(built_from.model, built_from.quick_gelu)
        super().__init__(built_from.preprocess or preprocess_of(built_from.model))
        self.built_from, self.model = built_from, built_from.model
        self.clip, self.visual, self.text = clip, clip.visual, getattr(clip, "text", clip)
        of_hub = "hf_tokenizer_name" in text_settings(built_from.model)
        self.tokenizer = built_from.tokenizer or (None if of_hub else ClipTokenizer(built_from.model))
        self.is_coca = type(clip).__name__ == "CoCa"
        self.layers = tuple(ClipLayer(block) for block in self.visual.transformer.resblocks)
        self.text_layers = tuple(ClipLayer(block) for block in self.text.transformer.resblocks)
        self.num_layers = len(self.layers)
        self.width = int(self.visual.conv1.out_channels)
        self.embed_dim = int(self.visual.proj.shape[1])
        self.image_size_px = int(self.visual.image_size[0])
        self.context_length = int(self.text.context_length)
        down, across = self.visual.grid_size
        self.grid = (int(down), int(across))
        self.sees_padding = sees_padding(self.text)
        self.takes_prompts = not self.sees_padding
        self.pools_patches = self.visual.attn_pool is not None or self.visual.pool_type == "avg"
        self.mark_pretrained()

    # building, saving and loading

    @classmethod
    def facts(cls, config: Any) -> Facts:
        cls.require_weights(config)
        return facts_of(config.model, config.pretrained, preprocess_cfg_of(config.weights))

    @classmethod
    def prepared_facts(cls, config: Any, architecture: dict[str, Any]) -> Facts:
        return facts_of(config.model, config.pretrained, architecture)

    @classmethod
    def prepare(cls, config: Any, seed: int = 0) -> OpenClipViT:
        """Return the model with weights that are given by tag, file, folder or name on the hub.

        Raises ValueError if the tag is unknown, or if the weights do not exist, cannot be read or do not fit.
        """
        model, weights = config.model, config.weights
        refuse_unsupported(model, open_clip().get_model_config(model) or settings_of(model))
        source = find_weights(weights) if weights else _published(model, config.pretrained)
        tensors = read_weights(source.file)
        quick_gelu = is_openai(tensors) or bool(source.quick_gelu)
        if not quick_gelu and source.quick_gelu is None and f"{model}-quickgelu" in open_clip().list_models():
            log.warning("%s: if these weights are OpenAI's, take model %s-quickgelu", source.file, model)
        text = text_settings(model)
        tokenizer = find_tokenizer(text, weights) if "hf_tokenizer_name" in text else None
        preprocess = with_settings(preprocess_of(model, config.pretrained), source.preprocess_cfg)
        backbone = cls(Architecture(model, quick_gelu, preprocess, tokenizer))
        if backbone.is_coca:
            tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(f"{DECODER}.")}
        problem = load_into(backbone.clip, tensors, resizers())
        if problem:
            raise ValueError(f"backbones: {source.file} does not fit {model}: {problem}; is it another architecture's?")
        return backbone

    def architecture(self) -> dict[str, Any]:
        preprocess = vars(self.preprocess) | {name: list(getattr(self.preprocess, name)) for name in ("mean", "std")}
        settings = tokenizer_settings(self.tokenizer)
        content = {"model": self.built_from.model, "quick_gelu": self.built_from.quick_gelu, **preprocess}
        return content | ({"tokenizer": settings} if settings else {})

    @classmethod
    def rebuild(cls, architecture: dict[str, Any]) -> OpenClipViT:
        model = architecture["model"]
        preprocess = with_settings(preprocess_of(model), architecture)
        tokenizer = tokenizer_from(architecture, text_settings(model))
        return cls(Architecture(model, architecture["quick_gelu"], preprocess, tokenizer))

    def export(self, folder: Path) -> None:
        if self.is_coca:
            raise ValueError(
                "export: the caption decoder of CoCa is not kept, and open_clip needs it; take the format onnx"
            )
        built_from = self.built_from
        write_hub_folder(self.clip, built_from.model, built_from.quick_gelu, self.preprocess, folder, self.tokenizer)

    def depth_of(self, name: str) -> ParameterPlace:
        parts = name.removeprefix("clip.").removeprefix("text.").split(".")
        if parts[0] == "logit_scale" or parts[0] == "logit_bias":
            return ParameterPlace("scale", 0)
        if parts[0] == "token_embedding":
            return ParameterPlace("words", 0)
        side, parts = ("image", parts[1:]) if parts[0] == "visual" else ("text", parts)
        after = 1 + len(self.layers if side == "image" else self.text_layers)
        if parts[0] == "transformer":
            return ParameterPlace(side, 1 + int(parts[2]))  # type: ignore[arg-type]
        if parts[0] in ("conv1", "class_embedding", "positional_embedding", "ln_pre", "cls_emb"):
            return ParameterPlace(side, 0)  # type: ignore[arg-type]
        return ParameterPlace("image_head" if side == "image" else "text", after)

    def add_lora(self, encoder: Literal["image", "text"], rank: int, alpha: float, dropout: float = 0.0) -> None:
        """Add LoRA to the projections of queries, keys and values in every layer of an encoder."""
        layers = self.layers if encoder == "image" else self.text_layers
        blocks: list[Any] = [layer.block for layer in layers]
        lora.add(((block.attn, lora.WEIGHT, 3) for block in blocks), rank, alpha, dropout)

    def use_channels_last(self) -> None:
        self.visual.conv1.to(memory_format=torch.channels_last)

    # images

    def embed(self, frames_FCHW: Tensor, change: Change | None = None) -> Tensor:
        if change is None:
            return self.visual._embeds(frames_FCHW)
        x_FNV = self.visual.conv1(frames_FCHW).flatten(2).transpose(1, 2)
        class_F1V = self.visual.class_embedding.to(x_FNV.dtype).expand(x_FNV.shape[0], 1, -1)
        x_FNV = torch.cat([class_F1V, x_FNV], 1) + self.visual.positional_embedding.to(x_FNV.dtype)
        return self.visual.ln_pre(change(x_FNV))

    def embeddings(self) -> tuple[Tensor, Tensor, Tensor]:
        positions_NV = self.visual.positional_embedding
        return self.visual.class_embedding, positions_NV[0], positions_NV[1:]

    def summary(self, tokens_BTNV: Tensor) -> Tensor:
        return summarize(self.visual, tokens_BTNV)

    def project(self, summary_BTV: Tensor) -> Tensor:
        features_BTD = project_summary(self.visual, summary_BTV)
        return F.normalize(features_BTD, dim=-1) if self.is_coca else features_BTD

    def new_layer(self, width: int, num_heads: int) -> Layer:
        block = self.text.transformer.resblocks[0]
        return ClipLayer(type(block)(width, num_heads, act_layer=type(block.mlp.gelu)))

    # texts

    def encode_text(self, tokens: TextTokens, prompts: Sequence[Tensor] = ()) -> tuple[Tensor, Tensor]:
        """Return (text features [K, D], word features [K, L, D]).

        In CLIP, padding after the end token has no effect on the features, because the attention is causal.
        """
        if not self.is_coca:
            return encode_words(self.text, tokens, self.text_layers, prompts)
        text_KD, words_KLD = encode_words_with_class(self.text, tokens)
        return F.normalize(text_KD, dim=-1), F.normalize(words_KLD, dim=-1)


def _published(model: str, tag: str | None) -> Source:
    """Return the weights file of an open_clip tag, downloaded if necessary."""
    settings = published_settings(model, tag)
    file = Path(open_clip().download_pretrained(settings))
    return Source(file, bool(settings.get("quick_gelu", False)), settings)
