"""Building blocks over time and words: attention with one fused call.

B batch, Q queries, S keys, V width, H heads.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention with biases on all four projections, as CLIP's; keys and values from another sequence if
    one is given. Initialised as torch's Linear (uniform, +-1/sqrt(V)).
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, query_BQV: Tensor, source_BSV: Tensor | None = None, mask_BS: Tensor | None = None) -> Tensor:
        """Attend, [B, Q, V]. `mask_BS` is true where a key may be seen."""
        if source_BSV is None:
            q, k, v = self.in_proj(query_BQV).chunk(3, -1)
        else:
            weight, bias = self.in_proj.weight, self.in_proj.bias
            width = weight.shape[1]
            q = F.linear(query_BQV, weight[:width], bias[:width])
            k, v = F.linear(source_BSV, weight[width:], bias[width:]).chunk(2, -1)
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (q, k, v))
        mask = None if mask_BS is None else mask_BS[:, None, None, :]
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out_proj(x.transpose(1, 2).flatten(-2))


def zero_linear(inputs: int, outputs: int) -> nn.Linear:
    """A Linear whose output is zero before training: what it is added to is left as it was."""
    linear = nn.Linear(inputs, outputs)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
