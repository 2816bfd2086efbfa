"""MoTED, reconstructed. "Enhanced Motion-Text Alignment for Image-to-Video Transfer Learning" (Zhang et al., CVPR 2024)
is public to us as its abstract only: GPT-4's descriptions of how confusable classes differ in motion, perception modules
in both encoders, and a contrastive loss between visual and textual motion features. Everything below that is OURS
(reference/field.md 1.5); no number of it may be called MoTED's.

- Image side: appearance is the mean of CLIP's frame features; motion is the feature of a temporal method of this
  registry (`visual`, STAN's branch by default).
- Text side: appearance is the class's names; motion is the mean of its descriptions plus what a few learned queries read
  from their words. The reader's last Linear starts at zero.
- Loss: class names + `align` x motion over all classes + `hard` x motion among a class and its rivals.
- Score: appearance + `motion` x motion.

Trains CLIP, the temporal module and the reader. Before training the text side is exactly the mean of names and the mean
of descriptions; with align = hard = motion = 0 it is mean_pool on the names (tests/contracts/test_methods.py).

B clips, K classes, S sentences, L words, Q queries, D joint width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from kinetext.models.methods import Method, Tokens, build_method, scores
from kinetext.models.temporal import Attention, zero_linear
from kinetext.models.texts import PHASES, TextTable, WordFeatures, class_means
from kinetext.registry import Options

if TYPE_CHECKING:
    from kinetext.models.backbone import Backbone


NEEDS_DESCRIPTIONS = True  # class names alone do not do


class Config(Options):
    """Every part has its switch."""

    visual: str = Field("stan", description="method whose video feature is the motion feature; mean_pool: no module")
    visual_options: dict[str, Any] = Field(default_factory=dict, description="options of that method")
    reader: bool = Field(True, description="learned queries that read the descriptions' words; off: their mean alone")
    queries: int = Field(4, ge=1, description="learned queries of the reader")
    heads: int = Field(8, ge=1, description="attention heads of the reader")
    align: float = Field(1.0, ge=0, description="weight of the motion alignment loss over all classes")
    hard: float = Field(1.0, ge=0, description="weight of the same among a class and its rivals")
    motion: float = Field(1.0, ge=0, description="weight of the motion score beside the appearance score")


class Both(NamedTuple):
    """An appearance feature and a motion feature, [B, D] of videos or [K, D] of classes."""

    appearance: Tensor
    motion: Tensor


class Reader(nn.Module):
    """A few learned queries read the words of all descriptions of a class; what they say together starts at zero."""

    def __init__(self, width: int, queries: int, heads: int) -> None:
        super().__init__()
        self.query_QD = nn.Parameter(0.02 * torch.randn(queries, width))
        self.phase = nn.Embedding(len(PHASES), width)  # "at the left" means another motion at the start than at the end
        self.ln_words, self.ln_out = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), zero_linear(4 * width, width))

    def forward(self, word_SLD: Tensor, phase_S: Tensor, seen_SL: Tensor, owner_S: Tensor, classes: int) -> Tensor:
        """What the queries read for each class, averaged over queries, [K, D]."""
        word_SLD = self.ln_words(word_SLD) + self.phase(phase_S)[:, None]
        most = int(torch.bincount(owner_S, minlength=classes).max())
        S, L, D = word_SLD.shape
        # the sentences of one class in one row: place j of class k
        place_S = torch.arange(S, device=owner_S.device) - torch.searchsorted(owner_S, owner_S)
        words = word_SLD.new_zeros(classes, most, L, D).index_put((owner_S, place_S), word_SLD)
        seen = seen_SL.new_zeros(classes, most, L).index_put((owner_S, place_S), seen_SL)
        query_KQD = self.query_QD.expand(classes, -1, -1)
        read = query_KQD + self.attn(query_KQD, words.flatten(1, 2), seen.flatten(1, 2))
        return self.mlp(self.ln_out(read)).mean(1)


class Moted(Method):
    """Two features on each side, aligned appearance with names and motion with descriptions."""

    def __init__(self, backbone: Backbone, config: Config) -> None:
        super().__init__(backbone, config)
        self.weights = config
        self.visual = build_method(backbone, config.visual, config.visual_options)
        self.patches = self.visual.patches
        self.reader = Reader(backbone.embed_dim, config.queries, config.heads) if config.reader else None

    @property
    def levels(self) -> tuple[int, ...]:
        """The layers of the temporal method."""
        return self.visual.levels

    def encode_tokens(self, tokens: Tokens) -> Both:
        """Appearance [B, D] and motion [B, D]."""
        return Both(super().encode_tokens(tokens), self.visual.encode_tokens(tokens))

    def pool_texts(self, words: WordFeatures, table: TextTable) -> Both:
        """Names [K, D] and descriptions [K, D]. Raises ValueError for a class without a description."""
        motion_S = table.motion_S
        described_K = torch.bincount(table.owner_S[motion_S], minlength=len(table.labels)) > 0
        if not bool(described_K.all()):
            silent = table.labels[int((~described_K).nonzero()[0])]
            raise ValueError(
                f"moted: class '{silent}' has no motion description; take texts that describe it, not `names`"
            )
        names_KD = class_means(words.sentence_SD, table, ~motion_S)
        motion_KD = class_means(words.sentence_SD, table, motion_S)
        if self.reader is not None:
            seen_SL = (
                torch.arange(table.tokens_SL.shape[1], device=motion_S.device) <= table.tokens_SL.argmax(-1)[:, None]
            )
            read_KD = self.reader(
                words.word_SLD[motion_S],
                table.phase_S[motion_S],
                seen_SL[motion_S],
                table.owner_S[motion_S],
                len(table.labels),
            )
            motion_KD = motion_KD + read_KD
        return Both(names_KD, motion_KD)

    def score(self, video: Both, text: Both) -> Tensor:
        """Logits [B, K]."""
        cosine_BK = scores(video.appearance, text.appearance)
        cosine_BK = cosine_BK + self.weights.motion * scores(video.motion, text.motion)
        return self.backbone.logit_scale * cosine_BK

    def loss(self, video: Both, text: Both, target_B: Tensor, rivals_KK: Tensor, label_smoothing: float) -> Tensor:
        """Names, then motion over all classes, then motion among rivals."""
        scale = self.backbone.logit_scale
        appearance_BK = scale * scores(video.appearance, text.appearance)
        motion_BK = scale * scores(video.motion, text.motion)
        loss = F.cross_entropy(appearance_BK, target_B, label_smoothing=label_smoothing)
        if self.weights.align:
            loss = loss + self.weights.align * F.cross_entropy(motion_BK, target_B, label_smoothing=label_smoothing)
        if self.weights.hard:
            among_BK = motion_BK.masked_fill(~rivals_KK[target_B], -torch.inf)
            loss = loss + self.weights.hard * F.cross_entropy(among_BK, target_B)
        return loss


def build(backbone: Backbone, config: Config) -> Method:
    """The method on this backbone."""
    return Moted(backbone, config)
