"""X-Pool (Gorti et al., "X-Pool: Cross-Modal Language-Video Attention for Text-Video Retrieval", CVPR 2022): each text
pools the frames of a clip by attention and is compared with the pooled video feature.

The text feature is the query, the frame features are the keys and values. Text and frames share one LayerNorm. The
attended frames go through a LayerNorm, a linear layer with residual and dropout, and another LayerNorm. The score is
the cosine of the pooled feature with the text feature, times CLIP's scale. The loss is CLIP's contrastive loss, or the
cross-entropy over all classes. CLIP and the pooling train. The pooling has 1 316 352 parameters at D = 512
(layer6ai-labs/xpool @ bc88718; tests/parity/test_x_pool.py).

Before training all linear layers are the identity: the pooled feature is the normalised (LayerNorm) mean of the
normalised frames, weighted by softmax(LN(text) . LN(frame) / sqrt(D)) (tests/methods/test_text_conditioned.py). Frame
order has no effect. On a backbone without a class token the frames are its pooled image features, and before training
the method equals the same function of them.

Released settings for MSR-VTT (layer6ai-labs/xpool @ bc88718, README and config/all_config.py;
experiments/x_pool_msrvtt.yaml): 12 frames, both encoders and CLIP's scale train, AdamW, learning rate 1e-6, 3e-5 for
the pooling, weight decay 0.2, a tenth of the steps as warm-up, then a cosine to zero; batches of 32.

Frames are pooled for each clip-text pair, so the cost of a test is clips x texts. Scores are computed for a few texts
at a time.

B clips, T frames, K classes or captions, D joint width.
"""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from kinetext.backbones.attention import fused_attention
from kinetext.backbones.base import Backbone
from kinetext.backbones.text_table import TextTable, WordFeatures, unscaled_class_means
from kinetext.core.plugins import Options
from kinetext.methods.base import ALL_TASKS, IGNORES_ORDER, LEARNING_NEW, Method, SearchSpace
from kinetext.methods.blocks import score_in_chunks


class XPool(Method):
    """Compare a text with the frames pooled by the attention of the text."""

    paper = "X-Pool (Gorti et al., CVPR 2022)"
    mechanism = "Pools the frames by attention with the text as the query, so the video feature differs between texts."
    equals_before_training = (
        "not zero-shot CLIP: frames are normalised (LayerNorm) and weighted by their similarity to the text"
    )
    cannot_see = IGNORES_ORDER
    published = (
        "text-to-video R@1 MSR-VTT 1k-A 46.9, MSVD 47.2, LSMDC 25.2 (B/32); layer6ai-labs/xpool @ bc88718, README",
    )
    tasks = ALL_TASKS
    search_space: ClassVar[SearchSpace] = LEARNING_NEW
    sees_order = False

    class Config(Options):
        """Options of the pooling."""

        heads: int = Field(1, ge=1, description="heads of the attention (X-Pool's released default: 1)")
        dropout: float = Field(
            0.3, ge=0, lt=1, description="dropout of the linear layer (X-Pool's released default: 0.3)"
        )

    config: Config

    def __init__(self, backbone: Backbone, config: Config) -> None:
        super().__init__(backbone, config)
        if backbone.embed_dim % config.heads:
            raise ValueError(
                f"x_pool: heads is {config.heads}, which does not divide the width of the joint space, "
                f"{backbone.embed_dim}; take a divisor"
            )
        self.pool = TextPooling(backbone.embed_dim, config.heads, config.dropout)

    def encode_frames(self, frames_BTD: Tensor) -> Tensor:
        """Return the frame features [B, T, D] unchanged, because the texts pool them."""
        return frames_BTD

    def pool_texts(self, words: WordFeatures, table: TextTable) -> Tensor:
        """Return the class features [K, D], with the norm of the encoder's features."""
        return unscaled_class_means(words.sentence_SD, table)

    def score(self, video: Tensor, text: Tensor) -> Tensor:
        """Return the logits [B, K] of frame features [B, T, D] and text features [K, D]."""

        def cosines(text_KD: Tensor) -> Tensor:
            pooled_BKD = F.normalize(self.pool(text_KD, video), dim=-1)
            return (pooled_BKD * F.normalize(text_KD, dim=-1)).sum(-1)

        return self.backbone.logits(score_in_chunks(cosines, (text,), video[:, 0].numel()))


class TextPooling(nn.Module):
    """Pool frames by the attention of texts. All linear layers are the identity before training."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.input_norm, self.attended_norm, self.output_norm = (nn.LayerNorm(width) for _ in range(3))
        self.query, self.key, self.value, self.out, self.linear = (_identity(width) for _ in range(5))
        self.dropout = nn.Dropout(dropout)

    def forward(self, text_KD: Tensor, frames_BTD: Tensor) -> Tensor:
        """Return the pooled features [B, K, D] of all pairs."""
        text_KD, frames_BTD = self.input_norm(text_KD), self.input_norm(frames_BTD)
        query_BKD = self.query(text_KD).expand(frames_BTD.shape[0], -1, -1)
        attended_BKD = fused_attention(query_BKD, self.key(frames_BTD), self.value(frames_BTD), self.heads)
        x_BKD = self.attended_norm(self.out(attended_BKD))
        return self.output_norm(x_BKD + self.dropout(self.linear(x_BKD)))


def _identity(width: int) -> nn.Linear:
    """Return a Linear with bias that returns its input before training."""
    linear = nn.Linear(width, width)
    nn.init.eye_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
