"""Hugging Face's names of CLIP's parameters, and how their tensors become ours.

Each function yields pairs: a parameter's name here, and a `Source`: the names there and what makes one tensor of
theirs.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

KINDS = ("weight", "bias")


class Source(NamedTuple):
    """The names of the original's tensors from which one of our tensors is made, and the function that makes it."""

    names: tuple[str, ...]
    make: Callable[..., Tensor]


Mapping = Iterator[tuple[str, Source]]


def image_encoder(original: str, layers: int, ours: str = "clip.visual") -> Mapping:
    """Yield the parameters of the image encoder of an open_clip_vit backbone, whose module is `ours`."""
    yield f"{ours}.class_embedding", same(f"{original}class_embedding")
    yield f"{ours}.conv1.weight", same(f"{original}patch_embedding.weight")
    yield f"{ours}.positional_embedding", same(f"{original}position_embedding.weight")
    yield f"{ours}.proj", transposed(f"{original}visual_projection.weight")
    yield from linear(f"{ours}.ln_pre", f"{original}pre_layrnorm")  # Hugging Face's spelling
    yield from linear(f"{ours}.ln_post", f"{original}post_layernorm")
    for i in range(layers):
        yield from block(f"{ours}.transformer.resblocks.{i}", f"{original}layers.{i}")


def text_encoder(original: str, projection: str, layers: int, ours: str = "clip") -> Mapping:
    """Yield the parameters of its text encoder. `projection` is the original's name of the output matrix."""
    yield f"{ours}.token_embedding.weight", same(f"{original}embeddings.token_embedding.weight")
    yield f"{ours}.positional_embedding", same(f"{original}embeddings.position_embedding.weight")
    yield f"{ours}.text_projection", transposed(projection)
    yield from linear(f"{ours}.ln_final", f"{original}final_layer_norm")
    for i in range(layers):
        yield from block(f"{ours}.transformer.resblocks.{i}", f"{original}encoder.layers.{i}")


def layer(ours: str, original: str) -> Mapping:
    """Yield the parameters of a `Layer` of the family open_clip_vit."""
    yield from block(f"{ours}.block", original)


def block(ours: str, original: str) -> Mapping:
    """Yield the parameters of a residual attention block of open_clip."""
    yield from attention(f"{ours}.attn", f"{original}.self_attn", "_")
    pairs = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    for a, b in pairs.items():
        yield from linear(f"{ours}.{a}", f"{original}.{b}")


def attention(ours: str, original: str, glue: str = ".") -> Mapping:
    """Yield the parameters of an attention. Queries, keys and values share one matrix here, and have three in the
    original.
    """
    for kind in KINDS:
        three = tuple(f"{original}.{x}_proj.{kind}" for x in "qkv")
        yield f"{ours}.in_proj{glue}{kind}", Source(three, lambda *parts: torch.cat(parts))
    yield from linear(f"{ours}.out_proj", f"{original}.out_proj")


def linear(ours: str, original: str) -> Mapping:
    """Yield weight and bias of a module."""
    for kind in KINDS:
        yield f"{ours}.{kind}", same(f"{original}.{kind}")


def same(name: str) -> Source:
    """Return the source of a tensor that is copied unchanged."""
    return Source((name,), lambda tensor: tensor)


def transposed(name: str) -> Source:
    """Return the source of a matrix that is transposed."""
    return Source((name,), lambda tensor: tensor.T)
