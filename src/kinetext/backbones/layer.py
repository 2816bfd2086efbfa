"""A transformer layer of a backbone, with its attention and MLP branches separate.

S sequences, N tokens, Q queries, V width.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from torch import Tensor, nn

KeysValues = tuple[Tensor, Tensor]  # projected keys and values, [S, N, V] each


class Layer(nn.Module):
    """A transformer layer whose two branches can be called on their own, so that a method can put something between them."""

    num_heads: int

    def attention(
        self, x_SNV: Tensor, num_queries: int | None = None, extra_keys_values: KeysValues | None = None
    ) -> Tensor:
        """Return what the attention branch adds, [S, Q, V].

        `num_queries`: only the first tokens ask, all are keys. `extra_keys_values`: further keys and values, as
        `keys_values` returns them; zeros are keys like any other.
        """
        raise NotImplementedError

    def keys_values(self, x_SNV: Tensor) -> KeysValues:
        """Return the projected keys and values of the attention branch."""
        raise NotImplementedError

    def mlp(self, x_SNV: Tensor) -> Tensor:
        """Return what the MLP branch adds, [..., V]."""
        raise NotImplementedError

    def forward(self, x_SNV: Tensor) -> Tensor:
        """Return the layer's output, [S, N, V]."""
        x_SNV = x_SNV + self.attention(x_SNV)
        return x_SNV + self.mlp(x_SNV)


def copy_layer(layer: Layer) -> Layer:
    """Return a copy of a layer; its parameters are new, and they train."""
    return deepcopy(layer).requires_grad_(True)


def checkpointed(function: Callable[..., Any], *inputs: Any) -> Any:
    """Return `function(*inputs)`; its inner results are computed again in the backward pass instead of being kept."""
    from torch.utils.checkpoint import checkpoint

    return checkpoint(function, *inputs, use_reentrant=False)
