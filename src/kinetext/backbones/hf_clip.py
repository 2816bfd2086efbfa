"""Convert CLIP parameters from the layout of Hugging Face's CLIP to that of open_clip_vit.

Most functions yield pairs of a parameter name of this package (`ours`) and a `Source`, which holds the names of the
original tensors and the function that converts them.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

KINDS = ("weight", "bias")


class Source(NamedTuple):
    """The names of the original tensors, and the function that makes one tensor of this package from them."""

    names: tuple[str, ...]
    make: Callable[..., Tensor]


Mapping = Iterator[tuple[str, Source]]


def image_encoder(original: str, layers: int, ours: str = "clip.visual") -> Mapping:
    """Yield the parameters of the image encoder of an open_clip_vit backbone.

    `original` is the prefix of the original names, `ours` the name of the module.
    """
    yield f"{ours}.class_embedding", same(f"{original}class_embedding")
    yield f"{ours}.conv1.weight", same(f"{original}patch_embedding.weight")
    yield f"{ours}.positional_embedding", same(f"{original}position_embedding.weight")
    yield f"{ours}.proj", transposed(f"{original}visual_projection.weight")
    yield from linear(f"{ours}.ln_pre", f"{original}pre_layrnorm")  # Hugging Face's spelling
    yield from linear(f"{ours}.ln_post", f"{original}post_layernorm")
    for i in range(layers):
        yield from block(f"{ours}.transformer.resblocks.{i}", f"{original}layers.{i}")


def text_encoder(original: str, projection: str, layers: int, ours: str = "clip") -> Mapping:
    """Yield the parameters of the text encoder of an open_clip_vit backbone.

    `original` is the prefix of the original names, `projection` the original name of the output matrix, `ours` the name
    of the module.
    """
    yield f"{ours}.token_embedding.weight", same(f"{original}embeddings.token_embedding.weight")
    yield f"{ours}.positional_embedding", same(f"{original}embeddings.position_embedding.weight")
    yield f"{ours}.text_projection", transposed(projection)
    yield from linear(f"{ours}.ln_final", f"{original}final_layer_norm")
    for i in range(layers):
        yield from block(f"{ours}.transformer.resblocks.{i}", f"{original}encoder.layers.{i}")


def layer(ours: str, original: str) -> Mapping:
    """Yield the parameters of a `ClipLayer`."""
    yield from block(f"{ours}.block", original)


def block(ours: str, original: str) -> Mapping:
    """Yield the parameters of a residual attention block of open_clip."""
    yield from attention(f"{ours}.attn", f"{original}.self_attn", "_")
    pairs = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    for a, b in pairs.items():
        yield from linear(f"{ours}.{a}", f"{original}.{b}")


def attention(ours: str, original: str, glue: str = ".") -> Mapping:
    """Yield the parameters of an attention module.

    The original has three matrices for queries, keys and values, which are stacked into one. `glue` comes between
    `in_proj` and `weight` or `bias` in the name.
    """
    for kind in KINDS:
        three = tuple(f"{original}.{x}_proj.{kind}" for x in "qkv")
        yield f"{ours}.in_proj{glue}{kind}", Source(three, lambda *parts: torch.cat(parts))
    yield from linear(f"{ours}.out_proj", f"{original}.out_proj")


def linear(ours: str, original: str) -> Mapping:
    """Yield the weight and bias of a module, copied unchanged."""
    for kind in KINDS:
        yield f"{ours}.{kind}", same(f"{original}.{kind}")


def same(name: str) -> Source:
    """Return the source of a tensor that is copied unchanged."""
    return Source((name,), lambda tensor: tensor)


def transposed(name: str) -> Source:
    """Return the source of a matrix that is transposed."""
    return Source((name,), lambda tensor: tensor.T)
