"""Layers of CLIP's image encoder, computed with one fused attention call, and gradient checkpointing.

B batch, Q queries, S keys, V width, H heads.
"""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

QUICK = 1.702  # of OpenAI's GELU


def fused_attention(q_BQV: Tensor, k_BSV: Tensor, v_BSV: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Multi-head attention [B, Q, V] of projected queries, keys and values."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q_BQV, k_BSV, v_BSV))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(-2)


def project_qkv(query: Tensor, source: Tensor | None, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values [B, S, V] from one stacked projection; keys and values from `source` if given."""
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
    q, k, v = project_qkv(query, source, block.attn.in_proj_weight, block.attn.in_proj_bias)
    return block.ls_1(block.attn.out_proj(fused_attention(q, k, v, block.attn.num_heads)))


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


def checkpointed(function: Callable[..., Any], *inputs: Any) -> Any:
    """`function(*inputs)`, whose inner results are computed again in the backward pass instead of being kept."""
    from torch.utils.checkpoint import checkpoint

    return checkpoint(function, *inputs, use_reentrant=False)


def cosine_scores(video_BD: Tensor, text_KD: Tensor) -> Tensor:
    """Cosines [B, K] of two sets of features."""
    return F.normalize(video_BD, dim=-1) @ F.normalize(text_KD, dim=-1).T
