"""open_clip's text encoder with word features: a TextTransformer, or a CLIP, which has the parts of one.

Attention is causal or bidirectional (SigLIP, MobileCLIP2-L). In the latter case, padding changes the features, and
texts are always padded to the context length, as in pretraining.

K texts, L words, P prompts, W width of the encoder, D joint width.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinetext.backbones import lora
from kinetext.backbones.values import TextTokens, insert_blanks

POOLS = ("argmax", "eos", "last")  # the end token, as the largest id or by its id; the last position


def unsupported(text: Any) -> str:
    """Return the reason why a text encoder of open_clip is not supported, or "" if it is."""
    if type(text).__name__ != "TextTransformer":
        return f"a text encoder {type(text).__name__}"
    if text.cls_emb is not None or text.use_pad_mask or text.pool_type not in POOLS:
        return f"a text encoder that pools '{text.pool_type}' with a class token or a mask"
    block = text.transformer.resblocks[0]
    return "" if type(block).__name__ == "ResidualAttentionBlock" else f"text layers {type(block).__name__}"


def sees_padding(text: Any) -> bool:
    """Return whether padding changes the features of a text."""
    return text.attn_mask is None or pool_type(text) == "last" or getattr(text, "cls_emb", None) is not None


def pool_type(text: Any) -> str:
    """Return the pooling of a text encoder, one of POOLS: which position is the text feature."""
    return text.text_pool_type if hasattr(text, "text_pool_type") else text.pool_type


def encode_words(
    text: Any, tokens: TextTokens, layers: Sequence[Any], prompts: Sequence[Tensor] = ()
) -> tuple[Tensor, Tensor]:
    """Return (text features [K, D], word features [K, L, D]).

    `layers` are the encoder's layers, as ClipLayer. `prompts` are vectors [P, W] that follow the start token (see
    `Backbone.encode_text`).
    """
    words, P = tokens.ids_KL.shape[1], len(prompts[0]) if prompts else 0
    tokens = insert_blanks(tokens, P, len(text.positional_embedding)) if P else tokens
    x_KLW = text.token_embedding(tokens.ids_KL)
    x_KLW = _put_prompts(x_KLW, prompts[0]) if P else x_KLW
    x_KLW = _run_layers(text, x_KLW + text.positional_embedding[: x_KLW.shape[1]], layers, prompts)
    words_KLD = project(text, text.ln_final(x_KLW))
    row_K = torch.arange(len(words_KLD), device=words_KLD.device)
    last = pool_type(text) == "last"
    text_KD = words_KLD[:, -1] if last else words_KLD[row_K, tokens.length_K - 1]
    if P:
        words_KLD = torch.cat([words_KLD[:, :1], words_KLD[:, 1 + P :]], 1)
        words_KLD = F.pad(words_KLD, (0, 0, 0, words - words_KLD.shape[1]))
    return text_KD, words_KLD


def _run_layers(text: Any, x_KLW: Tensor, layers: Sequence[Any], prompts: Sequence[Tensor]) -> Tensor:
    """Return the output of the layers; without prompts and LoRA, open_clip's own forward pass."""
    L = x_KLW.shape[1]
    mask_LL = None if text.attn_mask is None else text.attn_mask[:L, :L].to(x_KLW.dtype)
    if not prompts and not lora.is_added(text.transformer):
        return text.transformer(x_KLW, attn_mask=mask_LL)
    for number, layer in enumerate(layers):
        if 0 < number < len(prompts):
            x_KLW = _put_prompts(x_KLW, prompts[number])
        x_KLW = x_KLW + layer.attend(layer.attention_norm(x_KLW), mask=mask_LL)
        x_KLW = x_KLW + layer.mlp(x_KLW)
    return x_KLW


def _put_prompts(x_KLW: Tensor, prompts_PW: Tensor) -> Tensor:
    """Return the tokens with the prompts at the P positions after the start token."""
    prompts_KPW = prompts_PW.to(x_KLW.dtype).expand(len(x_KLW), -1, -1)
    return torch.cat([x_KLW[:, :1], prompts_KPW, x_KLW[:, 1 + len(prompts_PW) :]], 1)


def project(text: Any, x_KLW: Tensor) -> Tensor:
    """Return the features [..., D] in the joint space."""
    if text.text_projection is None:
        return x_KLW
    return text.text_projection(x_KLW) if isinstance(text.text_projection, nn.Linear) else x_KLW @ text.text_projection
