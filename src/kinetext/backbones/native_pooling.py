"""Pool the tokens of open_clip's own ViT and of CoCa's text encoder into one feature per image or text.

- CLIP takes the class token. The final norm and the projection follow.
- CLIPA (Li et al., NeurIPS 2023) takes the mean of the patches; the rest is the same.
- CoCa (Yu et al., TMLR 2022; mlfoundations/open_clip) takes the first query of an attention pooling. Its width is that
  of the joint space, which is smaller than V, so the summary is padded with zeros. Features are L2-normalised.

F frames, N tokens, V visual width, D joint width, K texts, L words.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from kinetext.backbones.text_tower import project as project_text
from kinetext.backbones.values import TextTokens


def summarize(visual: Any, tokens_BTNV: Tensor) -> Tensor:
    """Return the summary [..., V] of each frame: the pooled tokens before the final norm."""
    if visual.attn_pool is not None:
        *outer, N, V = tokens_BTNV.shape
        return pool_by_attention(visual.attn_pool, tokens_BTNV.reshape(-1, N, V)).unflatten(0, outer)
    if visual.pool_type == "avg":
        return tokens_BTNV[..., 1:, :].mean(-2)
    return tokens_BTNV[..., 0, :]


def pool_by_attention(pool: Any, x_FNV: Tensor) -> Tensor:
    """Return the output [F, V] of the first query of an attention pooling, padded with zeros to width V."""
    x_FNV = pool.ln_k(x_FNV)
    query_F1D = pool.ln_q(pool.query[:1]).expand(x_FNV.shape[0], 1, -1)
    pooled_FD = pool.attn(query_F1D, x_FNV, x_FNV, need_weights=False)[0][:, 0]
    return F.pad(pooled_FD, (0, x_FNV.shape[-1] - pooled_FD.shape[-1]))


def project_summary(visual: Any, summary_BTV: Tensor) -> Tensor:
    """Return the image features [..., D] of summaries."""
    if visual.attn_pool is not None:
        summary_BTV = summary_BTV[..., : visual.proj.shape[0]]
    return visual.ln_post(summary_BTV) @ visual.proj


def encode_words_with_class(text: Any, tokens: TextTokens) -> tuple[Tensor, Tensor]:
    """Return (text features [K, D], word features [K, L, D]) of a text encoder with a class token after the words.

    The texts are padded to the context length, because the class token has the last position. The mask is open_clip's:
    it is shifted by one, so the class token also sees the first padding.
    """
    x_KLW, mask = text._embeds(tokens.ids_KL)
    words_KLD = project_text(text, text.ln_final(text.transformer(x_KLW, attn_mask=mask)))
    return words_KLD[:, -1], words_KLD[:, :-1]
