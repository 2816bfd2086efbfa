"""Building blocks over time, space and words: attention with one fused call.

B batch, Q queries, S keys, V width, H heads; of videos B clips, L places of a frame, T frames, (h, w) the patch grid.
"""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

QUICK = 1.702  # of OpenAI's GELU


def fused(q_BQV: Tensor, k_BSV: Tensor, v_BSV: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Multi-head attention [B, Q, V] of projected queries, keys and values."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q_BQV, k_BSV, v_BSV))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(-2)


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
        weight, bias = self.in_proj.weight, self.in_proj.bias
        q, k, v = _projected(query_BQV, source_BSV, weight, bias)
        mask = None if mask_BS is None else mask_BS[:, None, None, :]
        return self.out_proj(fused(q, k, v, self.heads, mask))


def _projected(query: Tensor, source: Tensor | None, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if source is None:
        q, k, v = F.linear(query, weight, bias).chunk(3, -1)
        return q, k, v
    width = weight.shape[1]
    k, v = F.linear(source, weight[width:], bias[width:]).chunk(2, -1)
    return F.linear(query, weight[:width], bias[:width]), k, v


def attend_with(block: Any, x_BSV: Tensor, first: int | None = None) -> Tensor:
    """What a layer of CLIP's attention adds, [B, Q, V]: one fused call where its nn.MultiheadAttention copies queries,
    keys and values once more. `first`: only so many queries, the first ones, over all keys.
    """
    x_BSV = block.ln_1(x_BSV)
    query, source = (x_BSV, None) if first is None else (x_BSV[:, :first], x_BSV)
    q, k, v = _projected(query, source, block.attn.in_proj_weight, block.attn.in_proj_bias)
    return block.ls_1(block.attn.out_proj(fused(q, k, v, block.attn.num_heads)))


def feed_forward(block: Any, x: Tensor) -> Tensor:
    """What a layer of CLIP's feed-forward half adds. OpenAI's GELU, x sigmoid(1.702 x), is SiLU but for a factor before and
    after, which the weights beside it take: one pass over memory where there were three, and five backwards.
    """
    x = block.ln_2(x)
    # by name: only backbone.py knows open_clip
    if not hasattr(block.mlp, "gelu") or type(block.mlp.gelu).__name__ != "QuickGELU":
        return block.ls_2(block.mlp(x))
    inner, outer = block.mlp.c_fc, block.mlp.c_proj
    x = F.silu(F.linear(x, QUICK * inner.weight, QUICK * inner.bias))
    return block.ls_2(F.linear(x, outer.weight / QUICK, outer.bias))


def layer(block: Any, x_BSV: Tensor) -> Tensor:
    """A layer of CLIP's image tower, [B, S, V]."""
    x_BSV = x_BSV + attend_with(block, x_BSV)
    return x_BSV + feed_forward(block, x_BSV)


def zero_linear(inputs: int, outputs: int) -> nn.Linear:
    """A Linear whose output is zero before training: what it is added to is left as it was."""
    linear = nn.Linear(inputs, outputs)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def identity_linear(width: int) -> nn.Linear:
    """A Linear without bias that changes nothing before training."""
    linear = nn.Linear(width, width, bias=False)
    nn.init.eye_(linear.weight)
    return linear


def again(function: Callable[..., Any], *inputs: Any) -> Any:
    """`function(*inputs)`, whose inner results are computed again in the backward pass instead of being kept."""
    from torch.utils.checkpoint import checkpoint

    return checkpoint(function, *inputs, use_reentrant=False)


def drop_path(rate: float) -> nn.Module:
    """Drops the whole residual of a row, a member of the first axis, with this probability (Huang et al., ECCV 2016)."""
    from torchvision.ops import StochasticDepth  # 4 s, which a check of config.yaml need not spend

    return StochasticDepth(rate, "row")


# STAN's cross-frame modules. Each takes patches [B, L, T, V], in that order so that time needs no copy to be last but
# one, and gives them with a residual added.


class TimeAttention(nn.Module):
    """The released code's: LayerNorm, attention over T at each place, a Linear that starts at zero."""

    def __init__(self, width: int, heads: int, rate: float) -> None:
        super().__init__()
        self.ln = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.drop_path = drop_path(rate)
        self.fc = zero_linear(width, width)

    def forward(self, patches_BLTV: Tensor, grid: tuple[int, int]) -> Tensor:
        """Patches that have seen the same place in other frames."""
        x = self.attn(self.ln(patches_BLTV).flatten(0, 1))
        return patches_BLTV + self.fc(self.drop_path(x)).view(patches_BLTV.shape)


class PlainTimeAttention(nn.Module):
    """The paper's Eq. 7 and 8: attention with a single head, scaled by sqrt(V), and nothing else."""

    def __init__(self, width: int, heads: int, rate: float) -> None:
        super().__init__()
        self.attn = Attention(width, 1)

    def forward(self, patches_BLTV: Tensor, grid: tuple[int, int]) -> Tensor:
        """Patches that have seen the same place in other frames."""
        return patches_BLTV + self.attn(patches_BLTV.flatten(0, 1)).view(patches_BLTV.shape)


class TimeConv(nn.Module):
    """The released code's: one full 3 x 3 x 3 convolution, no norm, no activation, then a Linear that starts at zero."""

    def __init__(self, width: int, heads: int, rate: float) -> None:
        super().__init__()
        self.conv = nn.Conv3d(width, width, 3, padding=1)
        self.drop_path = drop_path(rate)
        self.fc = zero_linear(width, width)

    def forward(self, patches_BLTV: Tensor, grid: tuple[int, int]) -> Tensor:
        """Patches that have seen their neighbours in space and time."""
        x = self.conv(patches_BLTV.unflatten(1, grid).permute(0, 4, 3, 1, 2))  # B V T h w
        return patches_BLTV + self.fc(self.drop_path(x.permute(0, 3, 4, 2, 1).flatten(1, 2)))


class TimeBottleneck(nn.Module):
    """The paper's Eq. 9: down to V / 8, a convolution over three frames, GELU, up to V. That it starts at zero is ours."""

    def __init__(self, width: int, heads: int, rate: float) -> None:
        super().__init__()
        self.down = nn.Linear(width, width // 8)
        self.conv = nn.Conv1d(width // 8, width // 8, 3, padding=1)
        self.up = zero_linear(width // 8, width)

    def forward(self, patches_BLTV: Tensor, grid: tuple[int, int]) -> Tensor:
        """Patches that have seen the same place in the frames before and after."""
        x = self.conv(self.down(patches_BLTV).flatten(0, 1).transpose(1, 2))
        return patches_BLTV + self.up(F.gelu(x.transpose(1, 2))).view(patches_BLTV.shape)
