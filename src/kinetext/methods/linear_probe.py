"""Linear probe: logistic regression (scikit-learn) on L2-normalised video features, without any text.

`pool: mean` takes the mean of the frame features (the linear probe of CLIP, Radford et al., ICML 2021, on video).
`pool: thirds` concatenates the means of the first and of the last third of the frames, and `pool: all` concatenates all
frames in order. They measure what frame order contributes without any text.

On a backbone without a class token the frame features are its pooled image features. The backbone does not train and no
parameter is added. Weight [K, F] and bias [K] are fitted by L-BFGS and stored in the checkpoint. The method needs
training clips of every class, and it cannot score before it is fitted.

B, N clips, T frames, K classes, D joint width, F pooled width: D, 2 D or T D.
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


class LinearProbe(TextFreeHead):
    """Classify pooled frame features with a logistic regression."""

    paper = "Radford et al., ICML 2021"
    mechanism = "Fits a logistic regression to pooled frame features. Uses no text."
    equals_before_training = "nothing: it has no scores before it is fitted"
    cannot_see = (
        "With pool: mean (default), it ignores frame order. With pool: thirds, it ignores the frames between the "
        "first and the last third. With pool: all, it adds up one score per frame, so it cannot compare frames, for "
        "example to count periods that start at a random phase."
    )
    fitted_parameters = "K (D + 1); K (2 D + 1) with pool: thirds; K (T D + 1) with pool: all"
    search_space: ClassVar[SearchSpace] = {"options.C": {"factor": 1000}}  # CLIP searches 1e-6 to 1e6

    class Config(Options):
        """Options of the features and of the regression."""

        pool: Pool = Field("mean", description="thirds: first and last third of the frames; all: every frame, in order")
        C: float = Field(1.0, gt=0, description="inverse strength of the L2 penalty (scikit-learn's default)")
        max_iter: int = Field(1000, ge=1, description="iterations of L-BFGS")

    config: Config

    def __init__(self, backbone: Backbone, config: Config) -> None:
        super().__init__(backbone, config)
        self.sees_order = config.pool != "mean"

    def encode_frames(self, frames_BTD: Tensor) -> Tensor:
        """Return the pooled and normalised features [B, F]."""
        return pool_frames(frames_BTD, self.config.pool)

    def fit(self, frames_NTD: Tensor, target_N: Tensor, text: Any, val: tuple[Tensor, Tensor] | None = None) -> None:
        """Fit weight and bias to the N training clips. Raises ValueError if a class has no training clip."""
        from sklearn.linear_model import LogisticRegression

        classes = len(text)
        require_every_class("linear_probe", target_N, classes)
        model = LogisticRegression(C=self.config.C, max_iter=self.config.max_iter)
        model.fit(self.encode_frames(frames_NTD).double().numpy(), target_N.numpy())
        weight, bias = (torch.from_numpy(x).float() for x in (model.coef_, model.intercept_))
        if classes == 2:  # scikit-learn returns one row for two classes
            weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
        self.fitted = {"weight_KF": weight, "bias_K": bias}

    def score(self, video: Tensor, text: Any) -> Tensor:
        """Return the logits [B, K].

        Raises ValueError if the method is not fitted, or was fitted to another number of classes or frames.
        """
        self.require_fitted("bias_K", len(self.fitted.get("bias_K", ())), text)
        weight_KF, bias_K = (self.fitted[name].to(video) for name in ("weight_KF", "bias_K"))
        if video.shape[1] != weight_KF.shape[1]:
            raise ValueError(
                f"linear_probe: was fitted to features of {weight_KF.shape[1]} and gets {video.shape[1]}; with pool: all "
                "take the number of frames of the training"
            )
        return video @ weight_KF.T + bias_K
