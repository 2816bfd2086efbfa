"""Operations on features. Features are a tensor whose first axis is clips or texts, or a (named) tuple of features."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def map_tensors(function: Callable[..., Any], features: Any, *others: Any) -> Any:
    """Apply `function` to every tensor of `features`, together with the corresponding tensors of `others`.

    The result has the structure of `features`.
    """
    if not isinstance(features, tuple):
        return function(features, *others)
    mapped = [map_tensors(function, *parts) for parts in zip(features, *others, strict=True)]
    return type(features)(*mapped) if hasattr(features, "_fields") else tuple(mapped)


def detached_leaf(tensor: Tensor) -> Tensor:
    """Return the tensor detached, as a leaf that collects a gradient. Integer and bool tensors are left unchanged."""
    return tensor.detach().requires_grad_() if tensor.is_floating_point() else tensor


def concatenate(parts: Sequence[Any]) -> Any:
    """Return the features of all parts, concatenated along the first axis."""
    return map_tensors(lambda *tensors: torch.cat(tensors), *parts)


def slice_rows(features: Any, piece: slice) -> Any:
    """Return the rows `piece` of every tensor of `features`. None stays None."""
    return map_tensors(lambda tensor: None if tensor is None else tensor[piece], features)


def surrogate_loss(features: Any, gradients: Any) -> Tensor:
    """Return a number whose gradient with respect to `features` is `gradients` (None: no gradient).

    Calling `backward` on it continues a backward pass that stopped at these features. It is zero if no feature requires
    a gradient.
    """
    products: list[Tensor] = []

    def add(feature: Tensor, gradient: Tensor | None) -> None:
        if gradient is not None and feature.requires_grad:
            products.append((feature * gradient).sum())

    map_tensors(add, features, gradients)
    return torch.stack(products).sum() if products else torch.zeros(())
