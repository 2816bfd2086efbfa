"""A transformer layer of a backbone, with separate attention and MLP branches.

Some families rotate queries and keys by the position of their patch (rotary positions). Such a layer expects the tokens
of a frame: first the prefix tokens, then the patches. For other sequences:

- Tokens that a method appends after the patches have no position, like the prefix tokens.
- A method that puts a different number of tokens before the patches uses `layer.placed(first_patch)`.
- A method whose sequences are not the tokens of a frame (attention over time) uses `layer.placed(None)`, which rotates
  nothing.
- The keys that `keys_values` returns are already rotated; `attention` uses `extra_keys_values` as they are. A patch of
  another frame therefore keeps its position within that frame, and `layer.placed(None).keys_values(x)` gives keys
  without a position.

S sequences, N tokens, Q queries, V width.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from torch import Tensor, nn

KeysValues = tuple[Tensor, Tensor]  # projected keys and values, [S, N, V] each


class Layer(nn.Module):
    """A transformer layer with separate attention and MLP branches, so that a method can add a module between them.

    A subclass overrides `keys_values` and the four parts of the branches: `attention_norm`, `attend`, `mlp_norm` and
    `feed_forward`. A class that cannot separate the norms overrides `attention` and `mlp`, and methods that put a
    module after a norm (aim) do not work on it.
    """

    num_heads: int

    def attention(
        self, x_SNV: Tensor, num_queries: int | None = None, extra_keys_values: KeysValues | None = None
    ) -> Tensor:
        """Return the output [S, Q, V] of the attention branch, without the residual connection.

        Only the first `num_queries` tokens are queries (default: all); all tokens are keys. `extra_keys_values` holds
        additional keys and values, as returned by `keys_values`. They are not masked, even if they are zeros.
        """
        return self.attend(self.attention_norm(x_SNV), num_queries, extra_keys_values)

    def attention_norm(self, x_SNV: Tensor) -> Tensor:
        """Return the normalised input [..., V] of the attention branch."""
        raise NotImplementedError(f"{type(self).__name__} does not separate the norm of its attention")

    def attend(
        self,
        x_SNV: Tensor,
        num_queries: int | None = None,
        extra_keys_values: KeysValues | None = None,
    ) -> Tensor:
        """Return the output [S, Q, V] of the attention branch for already normalised tokens (see `attention`)."""
        raise NotImplementedError(f"{type(self).__name__} does not separate the norm of its attention")

    def keys_values(self, x_SNV: Tensor) -> KeysValues:
        """Return the projected keys and values [S, N, V] of the attention branch."""
        raise NotImplementedError

    def mlp(self, x_SNV: Tensor) -> Tensor:
        """Return the output [..., V] of the MLP branch, without the residual connection."""
        return self.feed_forward(self.mlp_norm(x_SNV))

    def mlp_norm(self, x_SNV: Tensor) -> Tensor:
        """Return the normalised input [..., V] of the MLP branch."""
        raise NotImplementedError(f"{type(self).__name__} does not separate the norm of its MLP")

    def feed_forward(self, x_SNV: Tensor) -> Tensor:
        """Return the output [..., V] of the MLP branch for tokens that are already normalised."""
        raise NotImplementedError(f"{type(self).__name__} does not separate the norm of its MLP")

    def placed(self, first_patch: int | None) -> Layer:
        """Return the layer, with the same weights, for sequences whose patches begin at token `first_patch`.

        With None the tokens have no positions (see the module docstring). The default is for layers without rotary
        positions and returns the layer itself.
        """
        return self

    def forward(self, x_SNV: Tensor) -> Tensor:
        """Return the output [S, N, V] of the layer."""
        x_SNV = x_SNV + self.attention(x_SNV)
        return x_SNV + self.mlp(x_SNV)


def copy_layer(layer: Layer) -> Layer:
    """Return a deep copy of a layer. The copied parameters count as new and require gradients."""
    return deepcopy(layer).requires_grad_(True)


def checkpointed(function: Callable[..., Any], *inputs: Any) -> Any:
    """Return `function(*inputs)` with gradient checkpointing: activations are recomputed in the backward pass."""
    from torch.utils.checkpoint import checkpoint

    return checkpoint(function, *inputs, use_reentrant=False)
