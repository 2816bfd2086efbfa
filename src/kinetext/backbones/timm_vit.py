"""open_clip's models with a ViT of timm as image encoder: SigLIP, SigLIP 2, PE-Core, EVA-CLIP, MobileCLIP-B and -L.

Zhai et al., ICCV 2023; Tschannen et al., 2025; Bolya et al., 2025; Sun et al., 2023; Vasu et al., CVPR 2024;
mlfoundations/open_clip 3.3, huggingface/pytorch-image-models 1.0. timm is imported only when such a model is built.

A frame's summary is the class token (EVA-CLIP, MobileCLIP) or the output of attention pooling over all tokens (SigLIP,
PE-Core). After an intermediate layer, the same pooling is applied to the tokens of that layer.

B clips, T frames, F frames of all clips, C channels, H x W pixels, N tokens (prefix tokens first), V visual width, K
texts, L words, D joint width.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from kinetext.backbones import lora
from kinetext.backbones.base import Change, Facts, Layer, ParameterPlace, Preprocess, TextTokens
from kinetext.backbones.clip_layer import ClipLayer
from kinetext.backbones.hub_folder import write_hub_folder
from kinetext.backbones.library import open_clip, open_clip_with_timm, published_settings, quiet, resizers
from kinetext.backbones.open_clip_base import OpenClipModel, text_settings
from kinetext.backbones.text_tokens import (
    ClipTokenizer,
    Tokenizer,
    find_tokenizer,
    tokenizer_from,
    tokenizer_settings,
)
from kinetext.backbones.text_tower import encode_words, sees_padding, unsupported
from kinetext.backbones.timm_layers import TimmLayer, low_rank_targets
from kinetext.backbones.timm_models import preprocess_of, refuse_unsupported, timm_facts, with_settings
from kinetext.backbones.weights import find_weights, load_into, preprocess_cfg_of, read_weights

BLOCKS = ("Block", "EvaBlock", "EvaBlockPostNorm")  # timm's classes
EMBEDDINGS = ("patch_embed", "cls_token", "reg_token", "pos_embed", "norm_pre", "rope")
POOLS = ("token", "map", "avg")

log = logging.getLogger(__name__)


class TimmViT(OpenClipModel):
    """A model of open_clip with a plain ViT of timm. Raises ValueError for other encoders."""

    def __init__(self, model: str, preprocess: Preprocess | None = None, tokenizer: Tokenizer | None = None) -> None:
        clip = build(model)
        super().__init__(preprocess or preprocess_of(model))
        self.model, self.clip, self.visual, self.trunk, self.text = (
            model,
            clip,
            clip.visual,
            clip.visual.trunk,
            clip.text,
        )
        self.layers = tuple(
            TimmLayer(block, getattr(self.trunk, "rope", None), self.trunk.num_prefix_tokens)
            for block in self.trunk.blocks
        )
        self.text_layers = tuple(ClipLayer(block) for block in self.text.transformer.resblocks)
        self.num_layers, self.width = len(self.layers), int(self.trunk.embed_dim)
        self.embed_dim = int(open_clip().get_model_config(model)["embed_dim"])
        self.prefix_tokens = int(self.trunk.num_prefix_tokens)
        down, across = self.trunk.patch_embed.grid_size
        self.grid = (int(down), int(across))
        self.image_size_px, self.context_length = int(self.visual.image_size[0]), int(clip.context_length)
        self.sees_padding, self.has_bias = sees_padding(self.text), clip.logit_bias is not None
        self.takes_prompts, self.pools_patches = not self.sees_padding, self.trunk.global_pool != "token"
        self.tokenizer = tokenizer
        self.mark_pretrained()

    # building, saving and loading

    @classmethod
    def facts(cls, config: Any) -> Facts:
        cls.require_weights(config)
        return timm_facts(config.model, preprocess_cfg_of(config.weights))

    @classmethod
    def prepared_facts(cls, config: Any, architecture: dict[str, Any]) -> Facts:
        return timm_facts(config.model, architecture)

    @classmethod
    def prepare(cls, config: Any, seed: int = 0) -> TimmViT:
        """Return the model with weights and tokenizer that are given by tag, file, folder or name on the hub.

        Raises ValueError if the tag is unknown, or if weights or tokenizer do not exist, cannot be read or do not fit.
        """
        refuse_unsupported(config.model, open_clip().get_model_config(config.model))
        if config.weights:
            source = find_weights(config.weights)
            file, settings = source.file, source.preprocess_cfg
        else:
            settings = published_settings(config.model, config.pretrained)
            file = Path(open_clip().download_pretrained(settings))
        preprocess = with_settings(preprocess_of(config.model), settings)
        text = text_settings(config.model)
        of_hub = "hf_tokenizer_name" in text
        tokenizer: Tokenizer = find_tokenizer(text, config.weights) if of_hub else ClipTokenizer(config.model)
        backbone = cls(config.model, preprocess, tokenizer)
        problem = load_into(backbone.clip, read_weights(file), resizers())
        if problem:
            raise ValueError(f"backbones: {file} does not fit {config.model}: {problem}; is it another architecture's?")
        backbone.keep_scale()
        return backbone

    def export(self, folder: Path) -> None:
        write_hub_folder(self.clip, self.model, False, self.preprocess, folder, self.tokenizer)

    def architecture(self) -> dict[str, Any]:
        preprocess = vars(self.preprocess) | {name: list(getattr(self.preprocess, name)) for name in ("mean", "std")}
        return {"model": self.model, **preprocess, "tokenizer": tokenizer_settings(self.tokenizer)}

    @classmethod
    def rebuild(cls, architecture: dict[str, Any]) -> TimmViT:
        """Return a model with random weights. `restore` adds the content of a tokenizer of the hub."""
        preprocess = with_settings(preprocess_of(architecture["model"]), architecture)
        return cls(
            architecture["model"], preprocess, tokenizer_from(architecture, text_settings(architecture["model"]))
        )

    def depth_of(self, name: str) -> ParameterPlace:
        side, *parts = name.removeprefix("clip.").split(".")
        if side in ("logit_scale", "logit_bias"):
            return ParameterPlace("scale", 0)
        if side == "text":
            return self._text_place(parts)
        if parts[0] == "trunk" and parts[1] == "blocks":
            return ParameterPlace("image", 1 + int(parts[2]))
        if parts[0] == "trunk" and parts[1] in EMBEDDINGS:
            return ParameterPlace("image", 0)
        return ParameterPlace("image_head", 1 + self.num_layers)

    def _text_place(self, parts: list[str]) -> ParameterPlace:
        if parts[0] == "token_embedding":
            return ParameterPlace("words", 0)
        if parts[0] == "transformer":
            return ParameterPlace("text", 1 + int(parts[2]))
        return ParameterPlace("text", 0 if parts[0] == "positional_embedding" else 1 + len(self.text_layers))

    def add_lora(self, encoder: Literal["image", "text"], rank: int, alpha: float, dropout: float = 0.0) -> None:
        """Add LoRA to the projections of queries, keys and values in every layer of an encoder."""
        if encoder == "text":
            blocks: list[Any] = [layer.block for layer in self.text_layers]
            lora.add(((block.attn, lora.WEIGHT, 3) for block in blocks), rank, alpha, dropout)
        else:
            layers: Any = self.layers
            lora.add((target for layer in layers for target in low_rank_targets(layer)), rank, alpha, dropout)

    def use_channels_last(self) -> None:
        self.trunk.patch_embed.to(memory_format=torch.channels_last)

    def train(self, mode: bool = True) -> TimmViT:
        """Set the training mode. The batch norms of MobileCLIP-B's stem keep their pretrained statistics."""
        super().train(mode)
        for module in self.trunk.patch_embed.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    # images

    def embed(self, frames_FCHW: Tensor, change: Change | None = None) -> Tensor:
        x = self.trunk._pos_embed(self.trunk.patch_embed(frames_FCHW))
        x_FNV = x[0] if isinstance(x, tuple) else x  # Eva also returns rotary positions
        return self.trunk.norm_pre(x_FNV if change is None else change(x_FNV))

    def embeddings(self) -> tuple[Tensor, Tensor, Tensor]:
        trunk, patches = self.trunk, self.grid[0] * self.grid[1]
        zeros_V = trunk.blocks[0].norm1.weight.new_zeros(self.width)
        class_V = zeros_V if trunk.cls_token is None else trunk.cls_token[0, 0]
        if trunk.pos_embed is None:
            return class_V, zeros_V, zeros_V.expand(patches, -1)
        positions_NV = trunk.pos_embed[0]
        has_class = len(positions_NV) > patches
        return class_V, positions_NV[0] if has_class else zeros_V, positions_NV[-patches:]

    def summary(self, tokens_BTNV: Tensor) -> Tensor:
        """Return the class token, or the output of the attention pooling (see the module docstring)."""
        if self.trunk.global_pool == "token":
            return tokens_BTNV[..., 0, :]
        if self.trunk.attn_pool is None:
            return self.patches(tokens_BTNV).mean(-2)
        *outer, N, V = tokens_BTNV.shape
        return self.trunk.pool(self.trunk.norm(tokens_BTNV.reshape(-1, N, V))).unflatten(0, outer)

    def project(self, summary_BTV: Tensor) -> Tensor:
        trunk = self.trunk
        normed = summary_BTV if trunk.attn_pool is not None else trunk.norm(summary_BTV)
        return self.visual.head(trunk.head(trunk.fc_norm(normed)))

    def new_layer(self, width: int, num_heads: int) -> Layer:
        """Return a new layer of the text encoder's type, into which its weights can be copied."""
        block: Any = self.text_layers[0].block
        kind: Any = type(block)
        norm: Any = type(block.ln_1)
        new = kind(
            width,
            num_heads,
            mlp_ratio=(block.mlp.c_fc.out_features + 0.5) / block.mlp.c_fc.in_features,
            act_layer=partial(deepcopy, block.mlp.gelu),
            norm_layer=partial(norm, eps=block.ln_1.eps),
        )
        return ClipLayer(new)

    # texts

    def encode_text(self, tokens: TextTokens, prompts: Sequence[Tensor] = ()) -> tuple[Tensor, Tensor]:
        return encode_words(self.text, tokens, self.text_layers, prompts)


def build(model: str) -> Any:
    """Return open_clip's model with random weights. Raises ValueError if its encoders are not supported."""
    settings = open_clip().get_model_config(model)
    if settings is None:
        timm_facts(model)  # raises, with the nearest name
    refuse_unsupported(model, settings)
    with quiet():  # open_clip warns that no weights are loaded; they are loaded later
        clip = open_clip_with_timm().create_model(
            model, load_weights=False, device=torch.get_default_device()
        )  # meta: too large to fill
    problem = _odd_trunk(clip.visual.trunk) or unsupported(getattr(clip, "text", clip))
    if problem:
        raise ValueError(
            f"backbones: open_clip's '{model}' has {problem}, which is not supported; take one such as ViT-B-16-SigLIP2"
        )
    return clip


def _odd_trunk(trunk: Any) -> str:
    """Return the part of an image encoder that TimmLayer does not support, or ""."""
    block = trunk.blocks[0]
    attn, rope = block.attn, getattr(trunk, "rope", None)
    if type(block).__name__ not in BLOCKS or trunk.global_pool not in POOLS:
        return f"image layers {type(block).__name__} with {trunk.global_pool} pooling"
    if attn.gate is not None or getattr(attn, "num_kv_groups", 1) > 1 or getattr(attn, "rotate_half", False):
        return f"image attention {type(attn).__name__} with gates, grouped keys or half rotations"
    if rope is not None and (list(rope.parameters()) or trunk.rope_mixed):
        return "rotary positions that train"
    return ""
