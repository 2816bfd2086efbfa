"""The attentive pooler and classifier of V-JEPA 2 (facebookresearch/vjepa2 @ c2963a4, src/models/attentive_pooler.py
and src/models/utils/modules.py). Parameter names are those of the original's AttentiveClassifier.

Weights start as in the original: linear layers and the query from a truncated normal (std 0.02), biases at zero. The
two output matrices of self-attention block i (from 1) are divided by sqrt(2 i). The second matrix of the last MLP is
divided by sqrt(2 (depth - 1)), or by sqrt(2) with depth 1.

B clips, S tokens of a clip, Q queries, V width, K classes.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinetext.backbones.attention import fused_attention


class AttentiveClassifier(nn.Module):
    """Attentive pooling and a linear classifier."""

    def __init__(self, width: int, heads: int, depth: int, classes: int) -> None:
        super().__init__()
        self.pooler = AttentivePooler(width, heads, depth)
        self.linear = nn.Linear(width, classes)
        _initialize(self.linear)

    def forward(self, x_BSV: Tensor) -> Tensor:
        """Return the logits [B, K]."""
        return self.linear(self.pooler(x_BSV))


class AttentivePooler(nn.Module):
    """depth - 1 self-attention blocks, then one block whose learned query attends to the tokens."""

    def __init__(self, width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.query_tokens = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = nn.ModuleList(SelfAttentionBlock(width, heads) for _ in range(depth - 1))
        self.cross_attention_block = CrossAttentionBlock(width, heads)
        self.apply(_initialize)
        nn.init.trunc_normal_(self.query_tokens, std=0.02)
        with torch.no_grad():
            for number, block in enumerate(self.blocks, start=1):
                assert isinstance(block, SelfAttentionBlock)
                block.attn.proj.weight.div_(math.sqrt(2 * number))
                block.mlp.fc2.weight.div_(math.sqrt(2 * number))
            self.cross_attention_block.mlp.fc2.weight.div_(math.sqrt(2 * max(1, depth - 1)))

    def forward(self, x_BSV: Tensor) -> Tensor:
        """Return the pooled feature [B, V] of tokens [B, S, V]."""
        for block in self.blocks:
            x_BSV = block(x_BSV)
        return self.cross_attention_block(self.query_tokens.expand(x_BSV.shape[0], -1, -1), x_BSV)[:, 0]


class SelfAttentionBlock(nn.Module):
    """A pre-norm block of self-attention and MLP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = SelfAttention(width, heads)
        self.mlp = Mlp(width)

    def forward(self, x_BSV: Tensor) -> Tensor:
        """Return the tokens [B, S, V] after the block."""
        x_BSV = x_BSV + self.attn(self.norm1(x_BSV))
        return x_BSV + self.mlp(self.norm2(x_BSV))


class SelfAttention(nn.Module):
    """Multi-head self-attention with a stacked projection of queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x_BSV: Tensor) -> Tensor:
        """Return the attended tokens [B, S, V]."""
        q, k, v = self.qkv(x_BSV).chunk(3, -1)
        return self.proj(fused_attention(q, k, v, self.heads))


class CrossAttentionBlock(nn.Module):
    """A cross-attention block. Attention has no norm on the queries and no output projection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.xattn = CrossAttention(width, heads)
        self.mlp = Mlp(width)

    def forward(self, query_BQV: Tensor, x_BSV: Tensor) -> Tensor:
        """Return the queries [B, Q, V] after the block."""
        query_BQV = query_BQV + self.xattn(query_BQV, self.norm1(x_BSV))
        return query_BQV + self.mlp(self.norm2(query_BQV))


class CrossAttention(nn.Module):
    """Multi-head attention from queries to tokens, with no output projection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.kv = nn.Linear(width, width), nn.Linear(width, 2 * width)

    def forward(self, query_BQV: Tensor, x_BSV: Tensor) -> Tensor:
        """Return the attended queries [B, Q, V]."""
        k, v = self.kv(x_BSV).chunk(2, -1)
        return fused_attention(self.q(query_BQV), k, v, self.heads)


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output [..., V]."""
        return self.fc2(F.gelu(self.fc1(x)))


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
