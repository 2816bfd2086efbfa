"""Fused attention, CLIP's MLP with fewer passes over memory, and cosine scores.

B batch, Q queries, S keys, V width, K texts, D joint width.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

QUICK = 1.702  # of OpenAI's QuickGELU


def fused_attention(q_BQV: Tensor, k_BSV: Tensor, v_BSV: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Return multi-head attention [B, Q, V] of projected queries, keys and values, computed in one fused call."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q_BQV, k_BSV, v_BSV))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(-2)


def project_qkv(query: Tensor, source: Tensor | None, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries [B, Q, V], keys and values [B, S, V] from a stacked projection (weight [3 V, V], bias [3 V]).

    Keys and values are projections of `source`, or of `query` if `source` is None.
    """
    if source is None:
        q, k, v = F.linear(query, weight, bias).chunk(3, -1)
        return q, k, v
    width = weight.shape[1]
    return F.linear(query, weight[:width], bias[:width]), *project_keys_values(source, weight, bias)


def project_keys_values(source: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Return the keys and values [B, S, V] of a stacked projection of queries, keys and values."""
    width = weight.shape[1]
    k, v = F.linear(source, weight[width:], bias[width:]).chunk(2, -1)
    return k, v


def mlp(module: Any, x: Tensor) -> Tensor:
    """Return the output of open_clip's MLP, with a faster equivalent of OpenAI's GELU.

    OpenAI's GELU is x sigmoid(1.702 x) = SiLU(1.702 x) / 1.702. The factors are folded into the weights before and
    after it, so that one pass over memory replaces three (forward) or five (backward).
    """
    if type(getattr(module, "gelu", None)).__name__ != "QuickGELU":
        return module(x)
    inner, outer = module.c_fc, module.c_proj
    x = F.silu(F.linear(x, QUICK * inner.weight, QUICK * inner.bias))
    return F.linear(x, outer.weight / QUICK, outer.bias)


def cosine_scores(video_BD: Tensor, text_KD: Tensor) -> Tensor:
    """Return the cosines [B, K] of B video features and K text features."""
    return F.normalize(video_BD, dim=-1) @ F.normalize(text_KD, dim=-1).T
