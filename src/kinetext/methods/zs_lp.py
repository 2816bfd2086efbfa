"""ZS-LP and CLAP (Silva-Rodriguez et al., "A Closer Look at the Few-Shot Adaptation of Large Vision-Language Models",
CVPR 2024; jusiro/CLAP @ dbdf409, trainers/adapters.py): a linear probe that starts at the class texts.

The score is the scaled cosine of the mean frame feature with the vector of the class. The vectors start at the mean
text features, with the norm of raw text features, and train on cached features. Only they train: K x D parameters; the
backbone gets none. Before training, and with epochs: 0, the method equals zero_shot
(tests/methods/test_fitted_heads.py), also on a backbone without a class token, with its pooled image features. A class
that was not fitted keeps its text, so every protocol is supported.

CLAP adds a penalty that keeps the vectors near the texts: the mean over classes of a_c |w_c - text_c|^2. The weight a_c
is the mean zero-shot probability of the class on its own training clips (`penalty: l2`, `weights: zero_shot`). It needs
no validation clips.

Differences from the release: features come from clips without augmentation (it stores 20 augmented passes). A class
without training clips gets the mean of the other weights.

B, N clips, T frames, K classes, D joint width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from kinetext.backbones.attention import cosine_scores
from kinetext.backbones.text_table import TextTable, WordFeatures, class_means
from kinetext.core.plugins import Options
from kinetext.methods.base import IGNORES_ORDER, SearchSpace
from kinetext.methods.fitting import ClassTexts, Head, class_ids, shuffled_batches

Penalty = Literal["none", "l2", "cosine"]
Weights = Literal["zero_shot", "balanced", "corrected", "constant"]
WARM_UP_LR = 1e-5  # of the first epoch, as released
MOMENTUM = 0.9


class ZsLp(Head):
    """Train one vector per class, starting at the class texts."""

    paper = "ZS-LP and CLAP (Silva-Rodriguez et al., CVPR 2024)"
    mechanism = "Trains a linear classifier that starts at the class texts. CLAP's penalty, an option, keeps the classifier near the texts."
    equals_before_training = "zero-shot CLIP"
    cannot_see = IGNORES_ORDER
    fitted_parameters = "K D"
    search_space: ClassVar[SearchSpace] = {"options.lr": {"factor": 10}}

    class Config(Options):
        """Options of the training and of CLAP's penalty."""

        penalty: Penalty = Field("none", description="distance to the texts; l2: CLAP's")
        weights: Weights = Field(
            "zero_shot",
            description="weights of the classes in the penalty; zero_shot: CLAP's; corrected: with mean 1; constant: their mean",
        )
        lr: float = Field(
            0.1, gt=0, description="learning rate of SGD with momentum 0.9; cosine to zero after one epoch at 1e-5"
        )
        epochs: int = Field(300, ge=0, description="passes over the training clips; 0: zero-shot CLIP")
        batch_size: int = Field(256, ge=1, description="clips per step")

    config: Config

    def pool_texts(self, words: WordFeatures, table: TextTable) -> ClassTexts:
        """Return the mean text features, with the mean norm of the raw features, and the class ids."""
        every_S = torch.ones_like(table.motion_S)
        mean_KD = class_means(words.sentence_SD, table, every_S)
        norm_S = words.sentence_SD.norm(dim=-1)
        count_K = torch.zeros_like(mean_KD[:, 0]).index_add(0, table.owner_S, torch.ones_like(norm_S))
        norm_K = torch.zeros_like(mean_KD[:, 0]).index_add(0, table.owner_S, norm_S) / count_K.clamp_min(1)
        return ClassTexts(F.normalize(mean_KD, dim=-1) * norm_K[:, None], class_ids(table.labels, table.owner_S.device))

    def fit(
        self, frames_NTD: Tensor, target_N: Tensor, text: ClassTexts, val: tuple[Tensor, Tensor] | None = None
    ) -> None:
        """Train the class vectors on the N training clips."""
        feature_ND, target_N = self.encode_frames(frames_NTD).to(self.device), target_N.to(self.device)
        vector_KD = train_vectors(feature_ND, target_N, text.mean_KD, self.backbone.logits, self.config)
        self.fitted = {"vector_JD": vector_KD.cpu(), "id_J": text.id_K.cpu()}

    def score(self, video: Tensor, text: ClassTexts) -> Tensor:
        """Return the logits [B, K]: scaled cosines with the vectors of the classes."""
        return self.backbone.logits(cosine_scores(video, self.rows_or_texts("vector_JD", text.mean_KD, text.id_K)))


@torch.enable_grad()
def train_vectors(
    feature_ND: Tensor,
    target_N: Tensor,
    text_KD: Tensor,
    logits: Callable[[Tensor], Tensor],
    config: ZsLp.Config,
    schedule: Callable[[float, int, int], float] | None = None,
) -> Tensor:
    """Return the trained class vectors [K, D].

    `logits` turns cosines into logits. `schedule` is `scheduled_lr` by default.
    """
    schedule = schedule or scheduled_lr
    feature_ND, text_KD = F.normalize(feature_ND, dim=-1).clone(), text_KD.detach().clone()
    with torch.no_grad():
        zero_shot_NK = logits(cosine_scores(feature_ND, text_KD))
        weight_K = class_weights(zero_shot_NK, target_N, config.weights)
    vector_KD = text_KD.clone().requires_grad_()
    optimizer = torch.optim.SGD([vector_KD], lr=config.lr, momentum=MOMENTUM)
    steps = -(-len(feature_ND) // config.batch_size)
    for step, index_B in enumerate(shuffled_batches(len(feature_ND), config.batch_size, config.epochs)):
        optimizer.param_groups[0]["lr"] = schedule(config.lr, step // steps, config.epochs)
        index_B = index_B.to(feature_ND.device)
        scores_BK = logits(feature_ND[index_B] @ F.normalize(vector_KD, dim=-1).T)
        loss = F.cross_entropy(scores_BK, target_N[index_B])
        if config.penalty != "none":
            loss = loss + distance_penalty(vector_KD, text_KD, weight_K, config.penalty)
        (vector_KD.grad,) = torch.autograd.grad(loss, vector_KD)
        optimizer.step()
    return vector_KD.detach()


def scheduled_lr(lr: float, epoch: int, epochs: int) -> float:
    """Return the learning rate of an epoch: one warm-up epoch (if there are several), then cosine decay to zero."""
    if epochs == 1:
        return lr
    return WARM_UP_LR if epoch == 0 else lr * 0.5 * (1 + math.cos(math.pi * epoch / epochs))


def class_weights(zero_shot_NK: Tensor, target_N: Tensor, kind: Weights) -> Tensor:
    """Return the weight a_c [K] of each class in the penalty, from the zero-shot logits of the training clips."""
    K = zero_shot_NK.shape[1]
    true_share_N = zero_shot_NK.softmax(-1).gather(1, target_N[:, None])[:, 0]
    count_K = torch.bincount(target_N, minlength=K)
    weight_K = true_share_N.new_zeros(K).index_add(0, target_N, true_share_N) / count_K.clamp_min(1)
    weight_K = torch.where(count_K > 0, weight_K, weight_K.sum() / (count_K > 0).sum())
    if kind == "balanced":
        return torch.ones_like(weight_K)
    if kind == "corrected":
        return weight_K * K / weight_K.sum()
    return weight_K.mean().expand(K) if kind == "constant" else weight_K


def distance_penalty(vector_KD: Tensor, text_KD: Tensor, weight_K: Tensor, kind: Penalty) -> Tensor:
    """Return the mean over classes of the weight times the squared distance (l2), or times 1 - cosine, to the text."""
    if kind == "cosine":
        return (weight_K * (1 - F.cosine_similarity(vector_KD, text_KD, dim=-1))).mean()
    return (weight_K * (vector_KD - text_KD).square().sum(-1)).mean()
