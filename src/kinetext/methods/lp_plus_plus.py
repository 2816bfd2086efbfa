"""LP++ (Huang et al., "LP++: A Surprisingly Strong Linear Probe for Few-Shot CLIP", CVPR 2024;
FereshteShakeri/FewShot-CLIP-Strong-Baseline @ f81054f, methods/linear_probe_p2.py): a linear probe plus weighted texts.

The logit of class c is w_c . f + b_c + alpha_c (text_c . f), where f is the normalised mean frame feature. Full-batch
gradient descent computes its step sizes from the data, so they need no tuning: lr_w = 4 N / lambda_max(F'F) and
lr_alpha = N / (4 max_c sum_n (f_n . text_c)^2). alpha starts at 250 times the mean affinity of clips with the text of
their class, and is updated every tenth epoch. With `training.select: best_val`, the epoch with the best validation
accuracy is kept (the latest if tied), otherwise the last one.

K (D + 2) parameters train: w, b and alpha; none is added to the backbone. Before training it is not zero-shot CLIP: it
scores by centroids plus alpha times the cosines. It needs training clips of every class. On a backbone without a class
token the frame features are its pooled image features.

Quirks of the released code, and how they are treated here:

- w starts at the *sum* of the features of a class, because a division is commented out. The published numbers depend on
  it, and it only rescales the centroids, so both variants keep it.
- The gradient of alpha is never zeroed: each update of alpha uses the sum over all epochs so far, not a step of the
  derived size. `variant: code` reproduces this; `variant: corrected` uses the gradient of the current epoch.
- The bias starts at torch's random values. `corrected` starts it at zero, so the result does not depend on the seed.

`code` is the default, because the published numbers are those of the code (tests/parity/test_heads.py).

B, N clips, M validation clips, K classes, D joint width.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from kinetext.core.plugins import Options
from kinetext.methods.base import IGNORES_ORDER, SearchSpace
from kinetext.methods.fitting import Head, accuracy, require_every_class

INITIAL_ALPHA = 250.0  # times the mean affinity
ALPHA_EVERY = 10  # epochs
MOMENTUM = 0.9


class Probe(NamedTuple):
    """Weight [K, D], bias [K] and text weight alpha [K] of the probe."""

    weight_KD: Tensor
    bias_K: Tensor
    alpha_K: Tensor

    def logits(self, feature_BD: Tensor, text_KD: Tensor) -> Tensor:
        """Return the logits [B, K] of normalised features and texts."""
        return feature_BD @ self.weight_KD.T + self.bias_K + self.alpha_K * (feature_BD @ text_KD.T)


class LpPlusPlus(Head):
    """Train a linear probe together with a weight for the text of each class."""

    paper = "LP++ (Huang et al., CVPR 2024)"
    mechanism = (
        "Trains a linear classifier and, for each class, a weight of the class text. The step sizes are computed "
        "from the data."
    )
    equals_before_training = (
        "not zero-shot CLIP: the classifier starts at the sum of the training features of each class, plus "
        "weighted cosines with the texts"
    )
    cannot_see = IGNORES_ORDER
    fitted_parameters = "K (D + 2)"
    needs_training_clips: ClassVar[bool] = True
    search_space: ClassVar[SearchSpace] = {"options.epochs": {"choices": [100, 300, 1000]}}

    class Config(Options):
        """Options of the probe."""

        variant: Literal["code", "corrected"] = Field(
            "code", description="corrected: alpha's gradient is that of the epoch, and the bias starts at zero"
        )
        epochs: int = Field(300, ge=1, description="full-batch steps; as released")

    config: Config

    def fit(self, frames_NTD: Tensor, target_N: Tensor, text: Tensor, val: tuple[Tensor, Tensor] | None = None) -> None:
        """Fit the probe to the N training clips. Raises ValueError if a class has no training clip."""
        require_every_class("lp_plus_plus", target_N, len(text))
        text_KD = F.normalize(text, dim=-1)
        K, D = text_KD.shape
        bias_K = torch.zeros(K)
        if self.config.variant == "code":
            generator = torch.Generator().manual_seed(torch.initial_seed())
            bias_K = (2 * torch.rand(K, generator=generator) - 1) / math.sqrt(D)
        probe, _ = fit_probe(
            self._normalized(frames_NTD),
            target_N.to(self.device),
            text_KD,
            bias_K.to(text_KD),
            self.config,
            None if val is None else (self._normalized(val[0]), val[1].to(self.device)),
        )
        self.fitted = {name: tensor.cpu() for name, tensor in probe._asdict().items()}

    def _normalized(self, frames_NTD: Tensor) -> Tensor:
        return F.normalize(self.encode_frames(frames_NTD).to(self.device), dim=-1)

    def score(self, video: Tensor, text: Tensor) -> Tensor:
        """Return the logits [B, K]. Raises ValueError if the probe is not fitted or has other classes."""
        if not self.fitted:
            raise ValueError("lp_plus_plus: is not fitted yet; run train_method first")
        probe = Probe(**{name: tensor.to(video) for name, tensor in self.fitted.items()})
        if len(probe.bias_K) != len(text):
            raise ValueError(f"lp_plus_plus: was fitted to {len(probe.bias_K)} classes and cannot score {len(text)}")
        return probe.logits(F.normalize(video, dim=-1), F.normalize(text, dim=-1))


def step_sizes(feature_ND: Tensor, affinity_NK: Tensor) -> tuple[float, float]:
    """Return (lr_w, lr_alpha) from the features and their cosines with the class texts."""
    N = len(feature_ND)
    largest = torch.linalg.eigvalsh(feature_ND.T @ feature_ND)[-1]
    return float(4 * N / largest), float(N / (4 * affinity_NK.square().sum(0).max()))


@torch.no_grad()
def fit_probe(
    feature_ND: Tensor,
    target_N: Tensor,
    text_KD: Tensor,
    bias_K: Tensor,
    config: LpPlusPlus.Config,
    val: tuple[Tensor, Tensor] | None = None,
) -> tuple[Probe, list[float]]:
    """Return the fitted probe and the loss before each step. Features and texts are normalised.

    With `val`, features [M, D] and classes [M] of validation clips, the probe of the best epoch is returned.
    """
    affinity_NK = feature_ND @ text_KD.T
    lr_w, lr_alpha = step_sizes(feature_ND, affinity_NK)
    wanted_NK = F.one_hot(target_N, len(text_KD)).to(feature_ND)
    affinity_K = (wanted_NK * affinity_NK).sum(0) / wanted_NK.sum(0)
    probe = Probe(
        wanted_NK.T @ feature_ND, bias_K.clone(), torch.full_like(bias_K, INITIAL_ALPHA * float(affinity_K.mean()))
    )
    speed_KD, speed_K, of_alpha_K = (torch.zeros_like(tensor) for tensor in probe)
    kept, best, losses = probe, -1.0, []
    for epoch in range(1, config.epochs + 1):
        logits_NK = probe.logits(feature_ND, text_KD)
        losses.append(F.cross_entropy(logits_NK, target_N).item())
        error_NK = (logits_NK.softmax(1) - wanted_NK) / len(feature_ND)  # the gradient with respect to the logits
        speed_KD = MOMENTUM * speed_KD + error_NK.T @ feature_ND
        speed_K = MOMENTUM * speed_K + error_NK.sum(0)
        alpha_now_K = (error_NK * affinity_NK).sum(0)
        of_alpha_K = alpha_now_K + (of_alpha_K if config.variant == "code" else 0)
        alpha_K = probe.alpha_K - lr_alpha * of_alpha_K if epoch % ALPHA_EVERY == 0 else probe.alpha_K
        probe = Probe(probe.weight_KD - lr_w * speed_KD, probe.bias_K - lr_w * speed_K, alpha_K)
        score = accuracy(probe.logits(val[0], text_KD), val[1]) if val is not None else 0.0
        if score >= best:
            kept, best = probe, score
    return kept, losses
