"""Hugging Face's names of CLIP's parameters, and how their tensors become ours.

Each function yields pairs: a parameter's name here, and a `Source`: the names there and what makes one tensor of theirs.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

KINDS = ("weight", "bias")


class Source(NamedTuple):
    """The names in the original that make one tensor of ours, and how."""

    names: tuple[str, ...]
    make: Callable[..., Tensor]


Mapping = Iterator[tuple[str, Source]]


def image_encoder(ours: str, original: str, layers: int) -> Mapping:
    """Yield the image encoder."""
    yield f"{ours}.class_embedding", same(f"{original}class_embedding")
    yield f"{ours}.conv1.weight", same(f"{original}patch_embedding.weight")
    yield f"{ours}.positional_embedding", same(f"{original}position_embedding.weight")
    yield f"{ours}.proj", transposed(f"{original}visual_projection.weight")
    yield from linear(f"{ours}.ln_pre", f"{original}pre_layrnorm")  # Hugging Face's spelling
    yield from linear(f"{ours}.ln_post", f"{original}post_layernorm")
    for i in range(layers):
        yield from block(f"{ours}.transformer.resblocks.{i}", f"{original}layers.{i}")


def text_encoder(ours: str, original: str, projection: str, layers: int) -> Mapping:
    """Yield the text encoder; `projection` is the name of its output matrix."""
    yield f"{ours}.token_embedding.weight", same(f"{original}embeddings.token_embedding.weight")
    yield f"{ours}.positional_embedding", same(f"{original}embeddings.position_embedding.weight")
    yield f"{ours}.text_projection", transposed(projection)
    yield from linear(f"{ours}.ln_final", f"{original}final_layer_norm")
    for i in range(layers):
        yield from block(f"{ours}.transformer.resblocks.{i}", f"{original}encoder.layers.{i}")


def layer(ours: str, original: str) -> Mapping:
    """Yield a `Layer` of the family open_clip_vit."""
    yield from block(f"{ours}.block", original)


def block(ours: str, original: str) -> Mapping:
    """Yield one of open_clip's residual attention blocks."""
    yield from attention(f"{ours}.attn", f"{original}.self_attn", "_")
    pairs = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    for a, b in pairs.items():
        yield from linear(f"{ours}.{a}", f"{original}.{b}")


def attention(ours: str, original: str, glue: str = ".") -> Mapping:
    """Yield an attention whose queries, keys and values share one matrix here."""
    for kind in KINDS:
        three = tuple(f"{original}.{x}_proj.{kind}" for x in "qkv")
        yield f"{ours}.in_proj{glue}{kind}", Source(three, lambda *parts: torch.cat(parts))
    yield from linear(f"{ours}.out_proj", f"{original}.out_proj")


def linear(ours: str, original: str) -> Mapping:
    """Yield a module with weight and bias."""
    for kind in KINDS:
        yield f"{ours}.{kind}", same(f"{original}.{kind}")


def same(name: str) -> Source:
    """Return a tensor as it is."""
    return Source((name,), lambda tensor: tensor)


def transposed(name: str) -> Source:
    """Return a matrix with its axes exchanged."""
    return Source((name,), lambda tensor: tensor.T)
