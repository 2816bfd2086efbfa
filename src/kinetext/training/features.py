"""Features of clips and texts are a tensor with the clips (or texts) first, or a tuple of such, as moted's. What is done to
all of them alike.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def each(function: Callable[..., Any], features: Any, *others: Any) -> Any:
    """`function` of every tensor, and of those in its place in `others`, in a tuple of the same kind."""
    if not isinstance(features, tuple):
        return function(features, *others)
    made = [each(function, *parts) for parts in zip(features, *others, strict=True)]
    return type(features)(*made) if hasattr(features, "_fields") else tuple(made)


def leaf(tensor: Tensor) -> Tensor:
    """The same numbers as the beginning of a graph of their own; what has no gradient (a mask) as it is."""
    return tensor.detach().requires_grad_() if tensor.is_floating_point() else tensor


def joined(parts: Sequence[Any]) -> Any:
    """The features of all parts, one after the other."""
    return each(lambda *tensors: torch.cat(tensors), *parts)


def cut(features: Any, piece: slice) -> Any:
    """The rows of a piece; of what there is nothing of, nothing."""
    return each(lambda tensor: None if tensor is None else tensor[piece], features)


def pull(features: Any, gradients: Any) -> Tensor:
    """A number whose gradient with respect to `features` is `gradients` (tensors, or None for none), so that its backward
    pass goes on where theirs stopped. Zero where no feature has a graph.
    """
    pulled: list[Tensor] = []

    def add(feature: Tensor, gradient: Tensor | None) -> None:
        if gradient is not None and feature.requires_grad:
            pulled.append((feature * gradient).sum())

    each(add, features, gradients)
    return torch.stack(pulled).sum() if pulled else torch.zeros(())
