"""Tip-Adapter (Zhang et al., ECCV 2022; gaopengcuhk/Tip-Adapter @ d0e2d6f): zero-shot CLIP plus a clip cache.

The cache stores the normalised mean frame feature of each training clip as the key and its class as the value. The
logit of a class is its zero-shot logit plus alpha times the sum of exp(-beta (1 - cosine)) over its keys. Nothing
trains; the cache has N x D numbers and the backbone no new parameter. With alpha: 0 the method equals zero_shot
(tests/methods/test_fitted_heads.py). A class without training clips keeps its zero-shot logit, so every protocol is
supported. On a backbone without a class token the frame features are its pooled image features, and with alpha: 0 the
method equals zero_shot there too.

`trained: true` is Tip-Adapter-F: the keys are a linear layer that trains with AdamW on the cross-entropy at the
configured alpha and beta. Before training it equals the plain cache. AdamW's weight decay is torch's default of 0.01,
as released. Keys are not renormalised.

With `training.select: best_val`, alpha and beta are chosen on the validation clips from a grid of 200 x 20 values (the
first if tied). Otherwise the configured values are used (3 and 1, the release's for UCF101). Differences from the
release: its ImageNet script searches on the test set, and its trained form keeps the best epoch on the test set. Here
the last epoch is kept and test clips are not used. The release averages keys over 10 augmented passes; here clips are
not augmented.

B, N clips, M validation clips, T frames, K scored classes, J fitted classes, D joint width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from kinetext.backbones.attention import cosine_scores
from kinetext.backbones.text_table import TextTable, WordFeatures
from kinetext.core.plugins import Options
from kinetext.methods.base import IGNORES_ORDER, SearchSpace
from kinetext.methods.fitting import ClassTexts, Head, accuracy, class_ids, shuffled_batches

SEARCH_FROM = 0.1  # the lowest alpha and beta of the search, as released
ADAM_EPS = 1e-4  # as released


class TipAdapter(Head):
    """Add votes of similar training clips to the zero-shot scores."""

    paper = "Tip-Adapter and Tip-Adapter-F (Zhang et al., ECCV 2022)"
    mechanism = "Adds votes of similar training clips to the zero-shot scores."
    equals_before_training = "zero-shot CLIP with alpha: 0; with trained: true, the same method with trained: false"
    cannot_see = IGNORES_ORDER
    what_trains = "nothing; with trained: true, the stored features of the training clips"
    fitted_parameters = "N D (stored features)"
    search_space: ClassVar[SearchSpace] = {"options.alpha": {"factor": 10}, "options.beta": {"factor": 5}}

    class Config(Options):
        """Options of the cache, the search and the training."""

        trained: bool = Field(False, description="true: Tip-Adapter-F, whose keys train")
        alpha: float = Field(3.0, ge=0, description="weight of the cache beside the zero-shot logits")
        beta: float = Field(1.0, gt=0, description="sharpness: a key counts exp(-beta (1 - cosine))")
        search: bool = Field(True, description="search alpha and beta on validation clips (training.select: best_val)")
        search_scale: tuple[float, float] = Field((7.0, 3.0), description="largest beta and alpha of the search")
        search_steps: tuple[int, int] = Field((200, 20), description="values of beta and of alpha in the search")
        lr: float = Field(1e-3, gt=0, description="learning rate of AdamW, cosine to zero (trained: true)")
        epochs: int = Field(20, ge=0, description="passes over the training clips (trained: true)")
        batch_size: int = Field(256, ge=1, description="clips per step (trained: true)")

    config: Config

    def pool_texts(self, words: WordFeatures, table: TextTable) -> ClassTexts:
        """Return the mean text features and the ids of the classes."""
        return ClassTexts(super().pool_texts(words, table), class_ids(table.labels, table.owner_S.device))

    def fit(
        self, frames_NTD: Tensor, target_N: Tensor, text: ClassTexts, val: tuple[Tensor, Tensor] | None = None
    ) -> None:
        """Store and optionally train the cache; search alpha and beta if there are validation clips."""
        config, target_N = self.config, target_N.to(self.device)
        key_ND = F.normalize(self.encode_frames(frames_NTD).to(self.device), dim=-1).clone()
        zero_shot_NJ = self.zero_shot(key_ND, text)
        if config.trained:
            key_ND = train_keys(key_ND, key_ND, target_N, zero_shot_NJ, config)
        alpha, beta = config.alpha, config.beta
        if val is not None and config.search:
            val_MD = F.normalize(self.encode_frames(val[0]).to(self.device), dim=-1)
            classes = zero_shot_NJ.shape[1]

            def cache(beta: float) -> Tensor:
                return cache_logits(val_MD @ key_ND.T, target_N, beta, classes)

            base_MJ = self.zero_shot(val_MD, text)
            beta, alpha = search(cache, base_MJ, val[1].to(self.device), config.search_scale, config.search_steps)
        self.fitted = {
            "key_ND": key_ND.cpu(),
            "target_N": target_N.cpu(),
            "id_J": text.id_K.cpu(),
            "alpha_beta": torch.tensor([alpha, beta], dtype=torch.float64),
        }

    def zero_shot(self, video_BD: Tensor, text: ClassTexts) -> Tensor:
        """Return the logits [B, K] of zero-shot CLIP."""
        with torch.no_grad():
            return self.backbone.logits(cosine_scores(video_BD, text.mean_KD))

    def score(self, video: Tensor, text: ClassTexts) -> Tensor:
        """Return the logits [B, K]: zero-shot plus alpha times the votes of the cache for the fitted classes."""
        zero_shot_BK = self.zero_shot(video, text)
        if not self.fitted:
            return zero_shot_BK
        key_ND, target_N = self.fitted["key_ND"].to(video), self.fitted["target_N"].to(video.device)
        alpha, beta = self.fitted["alpha_beta"].tolist()
        cache_BJ = cache_logits(F.normalize(video, dim=-1) @ key_ND.T, target_N, beta, len(self.fitted["id_J"]))
        votes_BJ = torch.cat([cache_BJ, cache_BJ.new_zeros(video.shape[0], 1)], 1)  # -1: a class that was not fitted
        return zero_shot_BK + alpha * votes_BJ[:, self.columns(text.id_K)]


def cache_logits(cosine_BN: Tensor, target_N: Tensor, beta: float, classes: int) -> Tensor:
    """Return the sum of exp(-beta (1 - cosine)) over the keys of each class [B, J]."""
    affinity_NB = (beta * (cosine_BN.T - 1)).exp()
    return cosine_BN.new_zeros(classes, cosine_BN.shape[0]).index_add(0, target_N, affinity_NB).T


def search(
    cache: Callable[[float], Tensor],
    zero_shot_MJ: Tensor,
    target_M: Tensor,
    scale: tuple[float, float],
    steps: tuple[int, int],
) -> tuple[float, float]:
    """Return (beta, alpha) with the best accuracy on the validation clips, the first if tied.

    `cache` returns the votes [M, J] for a beta. `scale` and `steps`: upper limits and numbers of values of (beta, alpha).
    """
    betas, alphas = (
        [SEARCH_FROM + i * (most - SEARCH_FROM) / count for i in range(count)]
        for most, count in zip(scale, steps, strict=True)
    )
    best, chosen = -1.0, (betas[0], alphas[0])
    for beta in betas:
        cache_MJ = cache(beta)
        for alpha in alphas:
            score = accuracy(zero_shot_MJ + alpha * cache_MJ, target_M)
            if score > best:
                best, chosen = score, (beta, alpha)
    return chosen


@torch.enable_grad()
def train_keys(
    key_ND: Tensor, feature_ND: Tensor, target_N: Tensor, zero_shot_NJ: Tensor, config: TipAdapter.Config
) -> Tensor:
    """Return the keys [N, D], trained on the normalised features [N, D] of the training clips."""
    weight_ND = key_ND.clone().requires_grad_()
    optimizer = torch.optim.AdamW([weight_ND], lr=config.lr, eps=ADAM_EPS)
    steps = config.epochs * -(-len(feature_ND) // config.batch_size)
    for step, index_B in enumerate(shuffled_batches(len(feature_ND), config.batch_size, config.epochs)):
        optimizer.param_groups[0]["lr"] = config.lr * 0.5 * (1 + math.cos(math.pi * step / steps))
        index_B = index_B.to(feature_ND.device)
        cache_BJ = cache_logits(feature_ND[index_B] @ weight_ND.T, target_N, config.beta, zero_shot_NJ.shape[1])
        loss = F.cross_entropy(zero_shot_NJ[index_B] + config.alpha * cache_BJ, target_N[index_B])
        (weight_ND.grad,) = torch.autograd.grad(loss, weight_ND)
        optimizer.step()
    return weight_ND.detach()
