"""A residual attention block of open_clip, in the image encoder or the text encoder, whose attention is one fused call.

S sequences, N tokens, V width.
"""

from typing import Any

import torch
from torch import Tensor

from kinetext.backbones import lora
from kinetext.backbones.attention import fused_attention, mlp, project_keys_values, project_qkv
from kinetext.backbones.layer import KeysValues, Layer


class ClipLayer(Layer):
    """A residual attention block of open_clip with separate attention and MLP branches."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.block = block
        self.num_heads = int(block.attn.num_heads)

    def attention_norm(self, x_SNV: Tensor) -> Tensor:
        return self.block.ln_1(x_SNV)

    def attend(
        self,
        x_SNV: Tensor,
        num_queries: int | None = None,
        extra_keys_values: KeysValues | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return the output of the attention branch. `mask` [N, N] is added to the logits, for causal attention."""
        attn = self.block.attn
        query, source = (x_SNV, None) if num_queries is None else (x_SNV[:, :num_queries], x_SNV)
        q, k, v = project_qkv(query, source, lora.weight(attn, lora.WEIGHT), attn.in_proj_bias)
        inputs = (query, x_SNV, x_SNV)
        q, k, v = (
            lora.add_product(attn, lora.WEIGHT, i, y, x) for i, (y, x) in enumerate(zip((q, k, v), inputs, strict=True))
        )
        if extra_keys_values is not None:
            k, v = (torch.cat(pair, 1) for pair in zip((k, v), extra_keys_values, strict=True))
        return self.block.ls_1(attn.out_proj(fused_attention(q, k, v, attn.num_heads, mask)))

    def keys_values(self, x_SNV: Tensor) -> KeysValues:
        attn, x_SNV = self.block.attn, self.block.ln_1(x_SNV)
        k, v = project_keys_values(x_SNV, lora.weight(attn, lora.WEIGHT), attn.in_proj_bias)
        return lora.add_product(attn, lora.WEIGHT, 1, k, x_SNV), lora.add_product(attn, lora.WEIGHT, 2, v, x_SNV)

    def mlp_norm(self, x_SNV: Tensor) -> Tensor:
        return self.block.ln_2(x_SNV)

    def feed_forward(self, x_SNV: Tensor) -> Tensor:
        return self.block.ls_2(mlp(self.block.mlp, x_SNV))
