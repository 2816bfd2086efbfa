"""Building blocks of methods: attention, linear layers initialised to zero or the identity, and stochastic depth.

B batch, Q queries, S keys, V width, H heads.
"""

from torch import Tensor, nn

from kinetext.backbones.attention import fused_attention, project_qkv


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
    """Return a stochastic depth layer: it zeroes each row (first axis) with probability `rate` (Huang et al., 2016)."""
    from torchvision.ops import StochasticDepth  # 4 s, which a check of config.yaml need not spend

    return StochasticDepth(rate, "row")
