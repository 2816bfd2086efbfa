"""Building blocks of methods: attention, zero and identity initialisation, stochastic depth, and chunked scoring.

B batch, Q queries, S keys, V width, H heads, K texts.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from kinetext.backbones.attention import fused_attention, project_qkv

NUMBERS_AT_ONCE = 2**24  # elements of one tensor over clip-text pairs: 64 MiB in float32


class Attention(nn.Module):
    """Multi-head attention with biases on all four projections, as in CLIP.

    Keys and values may come from another sequence. Weights are initialised like torch's Linear (uniform in
    ±1/sqrt(V)).
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, query_BQV: Tensor, source_BSV: Tensor | None = None, mask_BS: Tensor | None = None) -> Tensor:
        """Return the attended queries [B, Q, V]. `mask_BS` is true for keys that may be attended to."""
        weight, bias = self.in_proj.weight, self.in_proj.bias
        q, k, v = project_qkv(query_BQV, source_BSV, weight, bias)
        mask = None if mask_BS is None else mask_BS[:, None, None, :]
        return self.out_proj(fused_attention(q, k, v, self.heads, mask))


def zero_linear(inputs: int, outputs: int) -> nn.Linear:
    """Return a Linear whose output is zero before training."""
    linear = nn.Linear(inputs, outputs)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def identity_linear(width: int) -> nn.Linear:
    """Return a Linear without bias, initialised to the identity."""
    linear = nn.Linear(width, width, bias=False)
    nn.init.eye_(linear.weight)
    return linear


def drop_path(rate: float) -> nn.Module:
    """Return a stochastic depth layer that drops each row (first axis) with probability `rate` (Huang et al., 2016)."""
    from torchvision.ops import StochasticDepth  # 4 s, not needed to check config.yaml

    return StochasticDepth(rate, "row")


def score_in_chunks(
    score: Callable[..., Tensor], text: Sequence[Tensor], numbers_per_text: int, at_once: int = NUMBERS_AT_ONCE
) -> Tensor:
    """Return the scores [B, K] of all pairs, computed a few texts at a time to limit memory.

    `score` returns the scores of B clips for a chunk of the tensors in `text`, whose first axis is texts. It holds
    about `numbers_per_text` numbers per text. A chunk has as many texts as fit in `at_once` numbers, at least one.
    """
    if torch.compiler.is_exporting():  # chunks would depend on the number of clips, which is dynamic
        return score(*text)
    step = max(1, at_once // max(1, numbers_per_text))
    return torch.cat([score(*part) for part in zip(*(tensor.split(step) for tensor in text), strict=True)], 1)
