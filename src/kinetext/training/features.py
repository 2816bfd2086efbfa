"""Operations on features: a tensor with the clips (or texts) first, or a (named) tuple of such, as moted's."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def map_tensors(function: Callable[..., Any], features: Any, *others: Any) -> Any:
    """Apply `function` to every tensor, and to the tensors at its position in `others`; return a tuple of the same kind."""
    if not isinstance(features, tuple):
        return function(features, *others)
    mapped = [map_tensors(function, *parts) for parts in zip(features, *others, strict=True)]
    return type(features)(*mapped) if hasattr(features, "_fields") else tuple(mapped)


def detached_leaf(tensor: Tensor) -> Tensor:
    """Return the same numbers as a leaf that collects a gradient; a mask, which has no gradient, is returned as it is."""
    return tensor.detach().requires_grad_() if tensor.is_floating_point() else tensor


def concatenate(parts: Sequence[Any]) -> Any:
    """Return the features of all parts, one after the other."""
    return map_tensors(lambda *tensors: torch.cat(tensors), *parts)


def slice_rows(features: Any, piece: slice) -> Any:
    """Return the rows of a piece; None stays None."""
    return map_tensors(lambda tensor: None if tensor is None else tensor[piece], features)


def surrogate_loss(features: Any, gradients: Any) -> Tensor:
    """Return a number whose gradient with respect to `features` is `gradients` (None: no gradient).

    Its backward pass continues where the backward pass that gave these gradients stopped. Zero where no feature has a graph.
    """
    products: list[Tensor] = []

    def add(feature: Tensor, gradient: Tensor | None) -> None:
        if gradient is not None and feature.requires_grad:
            products.append((feature * gradient).sum())

    map_tensors(add, features, gradients)
    return torch.stack(products).sum() if products else torch.zeros(())
