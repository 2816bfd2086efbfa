"""Import open_clip lazily, without its slow imports, and check that a model's encoders are supported."""

import importlib
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import nn

from kinetext.backbones.catalogue import ASSETS, settings_of
from kinetext.backbones.native_models import refuse_unsupported

DECODER = "text_decoder"  # of CoCa


@contextmanager
def _stub_heavy_imports() -> Iterator[None]:
    """Replace slow imports of open_clip by stubs within a `with` block: 4 s of CPU time per job instead of 8 s.

    The slow imports are torch._dynamo.utils, which torchvision needs only for an operator that no image encoder here
    uses, and timm and transformers, which open_clip then treats as not installed. Its tokenizers still find
    transformers.
    """
    utils = ModuleType("torch._dynamo.utils")
    utils.is_compile_supported = lambda device: False  # type: ignore[attr-defined]
    stubs: dict[str, Any] = {"torch._dynamo.utils": utils, "timm": None, "transformers": None}
    stubs = {name: module for name, module in stubs.items() if name not in sys.modules}
    sys.modules.update(stubs)
    try:
        yield
    finally:
        for name in stubs:
            del sys.modules[name]


@cache
def open_clip() -> Any:
    """Return the module open_clip. The first call imports it, so checks of config.yaml do not wait for it."""
    with _stub_heavy_imports():
        import open_clip as library

    library.add_model_config(ASSETS)
    return library


@cache
def open_clip_with_timm() -> Any:
    """Return the module open_clip with support for image encoders of timm. The first call imports timm."""
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


def build_native(model: str, quick_gelu: bool = False) -> Any:
    """Return open_clip's model with random weights. Raises ValueError if OpenClipViT does not support its encoders.

    CoCa's caption decoder is left out.
    """
    settings = open_clip().get_model_config(model) or settings_of(model)
    refuse_unsupported(model, settings)  # first: other models need packages that may be missing
    with quiet():  # open_clip warns that no weights are loaded; they are loaded later
        clip = open_clip().create_model(
            model, load_weights=False, force_quick_gelu=quick_gelu, device=torch.get_default_device()
        )
    if hasattr(clip, DECODER):
        delattr(clip, DECODER)
    return clip


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


def published_tags(model: str) -> list[str]:
    """Return open_clip's tags of the published weights of a model."""
    return list(open_clip().list_pretrained_tags_by_model(model))


def published_settings(model: str, tag: str | None) -> dict[str, Any]:
    """Return open_clip's settings of published weights: their address and preprocessing.

    Raises ValueError if the model has no such tag.
    """
    if tag is None:
        raise ValueError(f"backbones: {model} has neither `pretrained` nor `weights`")
    tags = published_tags(model)
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
