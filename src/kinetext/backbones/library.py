"""Import open_clip late and fast, and check that a model has the plain encoders that this package supports."""

import importlib
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any

from torch import nn

from kinetext.backbones.catalogue import ASSETS


@contextmanager
def _stub_heavy_imports() -> Iterator[None]:
    """Replace slow imports of open_clip by stubs within a `with` block: 4 s of CPU time per job instead of 8 s.

    The slow imports are torch._dynamo.utils, which torchvision needs only for an operator that no image encoder here
    uses, and timm, which open_clip then treats as not installed.
    """
    utils = ModuleType("torch._dynamo.utils")
    utils.is_compile_supported = lambda device: False  # type: ignore[attr-defined]
    stubs: dict[str, Any] = {"torch._dynamo.utils": utils, "timm": None}
    stubs = {name: module for name, module in stubs.items() if name not in sys.modules}
    sys.modules.update(stubs)
    try:
        yield
    finally:
        for name in stubs:
            del sys.modules[name]


@cache
def open_clip() -> Any:
    """Return the module open_clip, imported at the first call, so that a check of config.yaml does not wait for it."""
    with _stub_heavy_imports():
        import open_clip as library

    library.add_model_config(ASSETS)
    return library


@cache
def open_clip_with_timm() -> Any:
    """Return the module open_clip, able to build image encoders of timm, which is imported at the first call."""
    library = open_clip()
    adapter = library.timm_model
    if adapter.timm is None:  # imported without timm, see above
        importlib.import_module("timm")
        importlib.reload(adapter)
        library.model.TimmModel = adapter.TimmModel
    return library


@cache
def tokenizer_of(model: str) -> Any:
    """Return the tokenizer of a model. It is cached, because loading it takes longer than building a small model."""
    return open_clip().get_tokenizer(model)


def no_plain_vit(model: str) -> ValueError:
    """Return the ValueError for a model whose image encoder is not a plain ViT."""
    return ValueError(
        f"backbones: open_clip's '{model}' has no plain ViT image encoder with a class token; take one such as ViT-B-32, "
        "ViT-B-16 or ViT-L-14"
    )


def require_plain_encoders(model: str, clip: nn.Module) -> None:
    """Raise ValueError unless a model has a plain ViT with a class token and the original CLIP text encoder."""
    visual = getattr(clip, "visual", None)
    plain_visual = (
        isinstance(visual, open_clip().transformer.VisionTransformer)
        and visual.pool_type == "tok"
        and visual.attn_pool is None
        and visual.proj is not None
    )
    if not plain_visual:
        raise no_plain_vit(model)
    if not isinstance(clip, open_clip().CLIP) or clip.text_pool_type != "argmax":
        raise ValueError(
            f"backbones: open_clip's '{model}' has no original CLIP text encoder; take one such as ViT-B-32, ViT-B-16 or "
            "ViT-L-14"
        )


def is_original_clip(clip: Any) -> bool:
    """Return whether a model is the original CLIP, without the variants that open_clip adds."""
    visual = clip.visual
    if not isinstance(clip, open_clip().CLIP) or not isinstance(visual, open_clip().transformer.VisionTransformer):
        return False
    return (
        (clip.text_pool_type, visual.pool_type, visual.attn_pool, clip.logit_bias) == ("argmax", "tok", None, None)
        and isinstance(clip.text_projection, nn.Parameter)
        and isinstance(visual.ln_pre, nn.LayerNorm)
        and isinstance(visual.transformer.resblocks[0].ls_1, nn.Identity)
        and clip.attn_mask is not None
    )


def resizers() -> tuple[Any, Any]:
    """Return open_clip's functions (image, text) that resize the position embeddings in a state dict to fit a model."""
    return open_clip().model.resize_pos_embed, open_clip().model.resize_text_pos_embed


def published_settings(model: str, tag: str | None) -> dict[str, Any]:
    """Return open_clip's settings of published weights: their address and preprocessing.

    Raises ValueError if the model has no such tag.
    """
    if tag is None:
        raise ValueError(f"backbones: {model} has neither `pretrained` nor `weights`")
    tags = open_clip().list_pretrained_tags_by_model(model)
    if tag not in tags:
        raise ValueError(f"backbones: {model} has no pretrained tag '{tag}'; known: {', '.join(tags) or 'none'}")
    return open_clip().get_pretrained_cfg(model, tag)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence log messages up to the level WARNING within a `with` block."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
