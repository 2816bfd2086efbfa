"""Linear probe: logistic regression (scikit-learn) on L2-normalised video features, without any text.

`pool: mean` takes the mean of the frame features (the linear probe of CLIP, Radford et al., ICML 2021, on video).
`pool: thirds` concatenates the means of the first and of the last third of the frames. It measures what the order of
frames contributes without any text.

The backbone does not train and no parameter is added. Weight [K, F] and bias [K] are fitted by L-BFGS and stored in the
checkpoint. The method needs training clips of every class, and it cannot score before it is fitted.

B, N clips, T frames, K classes, D joint width, F = D or 2 D.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from kinetext.backbones.base import Backbone
from kinetext.backbones.text_table import TextTable, WordFeatures
from kinetext.core.plugins import Options
from kinetext.methods.base import Method, SearchSpace, Task
from kinetext.methods.ordered_descriptions import end_frames


class LinearProbe(Method):
    """Classify pooled frame features with a logistic regression."""

    paper = "Radford et al., ICML 2021"
    mechanism = "logistic regression on pooled frame features, without text"
    equals_before_training = "no score before it is fitted"
    fitted_parameters = "K (D + 1); K (2 D + 1) with pool: thirds"
    fits: ClassVar[bool] = True
    needs_text: ClassVar[bool] = False
    needs_training_clips: ClassVar[bool] = True
    tasks: ClassVar[tuple[Task, ...]] = ("classes",)
    search_space: ClassVar[SearchSpace] = {"options.C": {"factor": 1000}}  # CLIP searches 1e-6 to 1e6

    class Config(Options):
        """Options of the features and of the regression."""

        pool: Literal["mean", "thirds"] = Field(
            "mean", description="thirds: first and last third of the frames, in order"
        )
        C: float = Field(1.0, gt=0, description="inverse strength of the L2 penalty (scikit-learn's default)")
        max_iter: int = Field(1000, ge=1, description="iterations of L-BFGS")

    config: Config

    def __init__(self, backbone: Backbone, config: Config) -> None:
        super().__init__(backbone, config)
        self.sees_order = config.pool == "thirds"

    def encode_frames(self, frames_BTD: Tensor) -> Tensor:
        """Return the pooled and normalised features [B, F]."""
        parts = (frames_BTD.mean(1),) if self.config.pool == "mean" else end_frames(frames_BTD)
        return torch.cat([F.normalize(part, dim=-1) for part in parts], -1)

    def encode_words(self, table: TextTable) -> WordFeatures:
        """Return text features of width 0, because the text encoder is not used."""
        S, L = table.tokens.ids_KL.shape
        none_SLD = table.owner_S.new_zeros(S, L, 0, dtype=torch.float32)
        return WordFeatures(none_SLD[:, 0], none_SLD)

    def pool_texts(self, words: WordFeatures, table: TextTable) -> Tensor:
        """Return class features [K, 0]. Only the number of classes is used."""
        return words.sentence_SD.new_zeros(len(table.labels), 0)

    def fit(self, frames_NTD: Tensor, target_N: Tensor, text: Any) -> None:
        """Fit weight and bias to the N training clips. Raises ValueError if a class has no training clip."""
        from sklearn.linear_model import LogisticRegression

        classes = len(text)
        missing = sorted(set(range(classes)) - set(target_N.tolist()))
        if missing:
            raise ValueError(f"linear_probe: class {missing[0]} has no training clip; take another method or protocol")
        model = LogisticRegression(C=self.config.C, max_iter=self.config.max_iter)
        model.fit(self.encode_frames(frames_NTD).double().numpy(), target_N.numpy())
        weight, bias = (torch.from_numpy(x).float() for x in (model.coef_, model.intercept_))
        if classes == 2:  # scikit-learn has one row for two classes
            weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
        self.fitted = {"weight_KF": weight, "bias_K": bias}

    def score(self, video: Tensor, text: Any) -> Tensor:
        """Return the logits [B, K].

        Raises ValueError if the method is not fitted, or was fitted to another number of classes.
        """
        if not self.fitted:
            raise ValueError("linear_probe: is not fitted yet; run train_method first")
        weight_KF, bias_K = (self.fitted[name].to(video) for name in ("weight_KF", "bias_K"))
        if len(bias_K) != len(text):
            raise ValueError(f"linear_probe: was fitted to {len(bias_K)} classes and cannot score {len(text)}")
        return video @ weight_KF.T + bias_K
