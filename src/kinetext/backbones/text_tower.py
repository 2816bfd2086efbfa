"""open_clip's text encoder, word by word: a TextTransformer, or a CLIP, which has the parts of one itself.

Attention is causal, or sees all positions (SigLIP, MobileCLIP2-L). In the second case padding changes the features, and
texts are always padded to the context length, as in pretraining.

K texts, L words, W width of the encoder, D joint width.
"""

from typing import Any

import torch
from torch import Tensor, nn

from kinetext.backbones.values import TextTokens

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
    """Return which position of a text encoder becomes the feature of the text: one of POOLS."""
    return text.text_pool_type if hasattr(text, "text_pool_type") else text.pool_type


def encode_words(text: Any, tokens: TextTokens) -> tuple[Tensor, Tensor]:
    """Return (text features [K, D], word features [K, L, D])."""
    L = tokens.ids_KL.shape[1]
    x_KLW = text.token_embedding(tokens.ids_KL) + text.positional_embedding[:L]
    mask_LL = None if text.attn_mask is None else text.attn_mask[:L, :L]
    words_KLD = project(text, text.ln_final(text.transformer(x_KLW, attn_mask=mask_LL)))
    if pool_type(text) == "last":
        return words_KLD[:, -1], words_KLD
    row_K = torch.arange(len(words_KLD), device=words_KLD.device)
    return words_KLD[row_K, tokens.length_K - 1], words_KLD


def project(text: Any, x_KLW: Tensor) -> Tensor:
    """Return the features [..., D] in the joint space."""
    if text.text_projection is None:
        return x_KLW
    return text.text_projection(x_KLW) if isinstance(text.text_projection, nn.Linear) else x_KLW @ text.text_projection
