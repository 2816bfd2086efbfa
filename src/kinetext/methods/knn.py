"""k nearest neighbours on cached frame features, without any text (Wu et al., CVPR 2018, eq. 7; as in DINO, ICCV 2021).

The k training clips with the largest cosine vote for their classes, each with weight exp(cosine / temperature). The
score is the logarithm of a class's share of the votes. Nothing is learned: `fit` stores the normalised features of the
training clips, N x F numbers, and their classes. No parameter is added. The method cannot score before it is fitted,
and needs training clips of every class.

On a backbone without a class token the frame features are its pooled image features. With `pool: mean`, frame order has
no effect; `thirds` and `all` are those of linear_probe.

B, N clips, T frames, K classes, D joint width, F pooled width.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from kinetext.backbones.base import Backbone
from kinetext.core.plugins import Options
from kinetext.methods.base import SearchSpace
from kinetext.methods.fitting import Pool, TextFreeHead, pool_frames, require_every_class

NO_VOTE = 1e-6  # added to every share, so that the logarithm is finite without votes


class Knn(TextFreeHead):
    """Let the most similar training clips vote."""

    paper = "Wu et al., CVPR 2018; DINO (Caron et al., ICCV 2021)"
    mechanism = "Lets the most similar training clips vote for their classes. Uses no text."
    equals_before_training = "nothing: it has no scores before it is fitted"
    cannot_see = (
        "With pool: mean (default), it ignores frame order. With pool: thirds, it ignores the frames between the "
        "first and the last third. With pool: all, it compares two clips at equal times only, so that the same "
        "motion at another time looks different."
    )
    what_trains = "nothing; the features of the training clips are stored"
    fitted_parameters = "N D (stored features)"
    search_space: ClassVar[SearchSpace] = {"options.k": {"choices": [1, 5, 10, 20, 50]}}

    class Config(Options):
        """Options of the features and of the vote."""

        pool: Pool = Field("mean", description="thirds: first and last third of the frames; all: every frame, in order")
        k: int = Field(20, ge=1, description="neighbours that vote (DINO: 20); at most the training clips")
        temperature: float = Field(
            0.07, gt=0, description="temperature of the weights exp(cosine / temperature); DINO: 0.07"
        )

    config: Config

    def __init__(self, backbone: Backbone, config: Config) -> None:
        super().__init__(backbone, config)
        self.sees_order = config.pool != "mean"

    def encode_frames(self, frames_BTD: Tensor) -> Tensor:
        """Return the L2-normalised pooled features [B, F]."""
        feature_BF = pool_frames(frames_BTD, self.config.pool)
        return feature_BF / feature_BF.norm(dim=-1, keepdim=True).clamp_min(1e-12)

    def fit(self, frames_NTD: Tensor, target_N: Tensor, text: Any, val: tuple[Tensor, Tensor] | None = None) -> None:
        """Store the N training clips. Raises ValueError if a class has no training clip."""
        require_every_class("knn", target_N, len(text))
        self.fitted = {"key_NF": self.encode_frames(frames_NTD).contiguous(), "target_N": target_N.cpu().clone()}

    def score(self, video: Tensor, text: Any) -> Tensor:
        """Return the log vote shares [B, K]. Raises ValueError if not fitted, or fitted to other classes or frames."""
        self.require_fitted("key_NF", max(self.fitted.get("target_N", torch.zeros(0)).tolist(), default=-1) + 1, text)
        target_N = self.fitted["target_N"].to(video.device)
        key_NF = self.fitted["key_NF"].to(video)
        if video.shape[1] != key_NF.shape[1]:
            raise ValueError(
                f"knn: was fitted to features of {key_NF.shape[1]} and gets {video.shape[1]}; with pool: all take the "
                "number of frames of the training"
            )
        cosine_Bk, nearest_Bk = (video @ key_NF.T).topk(min(self.config.k, len(key_NF)), dim=1)
        vote_Bk = (cosine_Bk / self.config.temperature).softmax(1)
        share_BK = video.new_zeros(video.shape[0], len(text)).scatter_add_(1, target_N[nearest_Bk], vote_Bk)
        return (share_BK + NO_VOTE).log()
