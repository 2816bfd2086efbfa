"""A layer of timm's ViT and Eva image encoders, with separate attention and MLP branches.

It covers the blocks of SigLIP (Zhai et al., ICCV 2023), Perception Encoder (Bolya et al., 2025), EVA-CLIP (Sun et al.,
2023; EVA02-E has its norms after the branches) and MobileCLIP-B: stacked or separate projections of queries, keys and
values, layer scale, a norm inside attention or MLP, and rotary positions (Su et al., 2021) on the patches of a frame.
The blocks and their parameter names are those of huggingface/pytorch-image-models 1.0. The stochastic depth of
pretraining is not applied.

S sequences, N tokens, P patches of a frame, Q queries, H heads, C width of a head, V width.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinetext.backbones import lora
from kinetext.backbones.attention import project_keys_values, project_qkv
from kinetext.backbones.layer import KeysValues, Layer


class TimmLayer(Layer):
    """A block of timm. `rope` is the encoder's module of rotary positions, None if it has none.

    The patches of a sequence begin at token `first_patch`; None: the sequence is not the tokens of a frame.
    """

    def __init__(self, block: Any, rope: Any = None, first_patch: int | None = 0) -> None:
        super().__init__()
        self.block, self.rope, self.first_patch = block, rope, first_patch
        self.num_heads = int(block.attn.num_heads)
        self.norm_after = type(block).__name__ == "EvaBlockPostNorm"

    def placed(self, first_patch: int | None) -> Layer:
        return self if self.rope is None else TimmLayer(self.block, self.rope, first_patch)

    def attention_norm(self, x_SNV: Tensor) -> Tensor:
        return x_SNV if self.norm_after else self.block.norm1(x_SNV)

    def attend(
        self, x_SNV: Tensor, num_queries: int | None = None, extra_keys_values: KeysValues | None = None
    ) -> Tensor:
        attn = self.block.attn
        q, k, v = _project(attn, x_SNV if num_queries is None else x_SNV[:, :num_queries], x_SNV)
        angles = self._angles(x_SNV)
        q, k = self._turned(attn.q_norm(_heads(q, self.num_heads)), angles), self._turned_keys(k, angles)
        v = _heads(v, self.num_heads)
        if extra_keys_values is not None:
            more = (_heads(x, self.num_heads) for x in extra_keys_values)
            k, v = (torch.cat(pair, 2) for pair in zip((k, v), more, strict=True))
        x_SQV = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)
        return self._scaled(attn.proj(attn.norm(x_SQV)), 1)

    def keys_values(self, x_SNV: Tensor) -> KeysValues:
        """Return the projected keys, with their positions, and the values [S, N, V] of the attention branch."""
        attn, x_SNV = self.block.attn, self.attention_norm(x_SNV)
        if attn.qkv is None:
            k, v = _linear(attn.k_proj, x_SNV), _linear(attn.v_proj, x_SNV)
        else:
            k, v = project_keys_values(x_SNV, lora.weight(attn.qkv, "weight"), _stacked_bias(attn))
            k, v = (lora.add_product(attn.qkv, "weight", i, y, x_SNV) for i, y in ((1, k), (2, v)))
        return self._turned_keys(k, self._angles(x_SNV)).transpose(1, 2).flatten(-2), v

    def mlp_norm(self, x_SNV: Tensor) -> Tensor:
        return x_SNV if self.norm_after else self.block.norm2(x_SNV)

    def feed_forward(self, x_SNV: Tensor) -> Tensor:
        return self._scaled(self.block.mlp(x_SNV), 2)

    def _scaled(self, x: Tensor, branch: int) -> Tensor:
        """Apply what follows branch 1 (attention) or 2 (MLP) of a block: a norm, a layer scale, or nothing."""
        if self.norm_after:
            return getattr(self.block, f"norm{branch}")(x)
        if hasattr(self.block, f"ls{branch}"):  # ViT
            return getattr(self.block, f"ls{branch}")(x)
        scale_V = getattr(self.block, f"gamma_{branch}")  # Eva
        return x if scale_V is None else scale_V * x

    def _turned_keys(self, k_SNV: Tensor, angles: Tensor | None) -> Tensor:
        return self._turned(self.block.attn.k_norm(_heads(k_SNV, self.num_heads)), angles)

    def _turned(self, x_SHNC: Tensor, angles: Tensor | None) -> Tensor:
        return x_SHNC if angles is None else rotate(x_SHNC, angles, self.first_patch or 0)

    def _angles(self, x_SNV: Tensor) -> Tensor | None:
        """Return the sines and cosines [P, 2 C] of the patches, None without rotary positions.

        Raises ValueError if the sequence is shorter than the patches of a frame.
        """
        if self.rope is None or self.first_patch is None:
            return None
        angles: Tensor = self.rope.get_embed()
        if x_SNV.shape[1] < self.first_patch + len(angles):
            raise ValueError(
                f"a sequence of {x_SNV.shape[1]} tokens does not hold a frame's {len(angles)} patches from token "
                f"{self.first_patch} on, which have rotary positions; a method whose sequences are no frames takes "
                "layer.placed(None)"
            )
        return angles


def rotate(x_SHNC: Tensor, angles: Tensor, first_patch: int) -> Tensor:
    """Apply rotary positions to the patches of a sequence: rotate their pairs of channels (0, 1), (2, 3), ...

    `angles` has the sines and then the cosines [P, 2 C] of the patches, which begin at token `first_patch`. The other
    tokens do not change.
    """
    last = min(first_patch + len(angles), x_SHNC.shape[2])
    if last <= first_patch:
        return x_SHNC
    patches = x_SHNC[:, :, first_patch:last]
    sine, cosine = angles[: last - first_patch].chunk(2, -1)
    quarter_turn = torch.stack((-patches[..., 1::2], patches[..., ::2]), -1).flatten(-2)
    turned = (patches * cosine + quarter_turn * sine).to(x_SHNC.dtype)
    return torch.cat((x_SHNC[:, :, :first_patch], turned, x_SHNC[:, :, last:]), 2)


def low_rank_targets(layer: TimmLayer) -> list[tuple[nn.Module, str, int]]:
    """Return the projections of queries, keys and values: (module, weight name, number of stacked projections)."""
    attn = layer.block.attn
    if attn.qkv is not None:
        return [(attn.qkv, "weight", 3)]
    return [(projection, "weight", 1) for projection in (attn.q_proj, attn.k_proj, attn.v_proj)]


def _project(attn: Any, query: Tensor, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if attn.qkv is None:
        return _linear(attn.q_proj, query), _linear(attn.k_proj, source), _linear(attn.v_proj, source)
    same = None if query is source else source
    outputs = project_qkv(query, same, lora.weight(attn.qkv, "weight"), _stacked_bias(attn))
    inputs = (query, source, source)
    q, k, v = (
        lora.add_product(attn.qkv, "weight", i, y, x) for i, (y, x) in enumerate(zip(outputs, inputs, strict=True))
    )
    return q, k, v


def _linear(projection: Any, x_SNV: Tensor) -> Tensor:
    """Return a separate projection, with or without LoRA."""
    output = F.linear(x_SNV, lora.weight(projection, "weight"), projection.bias)
    return lora.add_product(projection, "weight", 0, output, x_SNV)


def _stacked_bias(attn: Any) -> Tensor:
    """Return the bias of a stacked projection. EVA has none for keys: it stores a constant zero."""
    if getattr(attn, "q_bias", None) is not None:
        return torch.cat((attn.q_bias, attn.k_bias, attn.v_bias))
    return attn.qkv.bias


def _heads(x_SNV: Tensor, heads: int) -> Tensor:
    return x_SNV.unflatten(-1, (heads, -1)).transpose(1, 2)
