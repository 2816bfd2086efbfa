"""The contract of a method: features of a video, features of the class texts, their score, and what training minimises.

A method never sees a path. As a rule it reads the tokens of some layers of the image encoder, so that a frozen encoder runs once
per clip and not once per epoch. A method that works inside the encoder (`inside`) replaces its layers instead. `Method`
itself is mean pooling (zero-shot CLIP on video).

The docstring of a method's module says the paper, what trains, how many parameters it adds and what it equals before training;
tests prove the last two.

B clips, T frames, N tokens (1 if the method reads no patches), V visual width, K classes or captions, D joint width, S sentences.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinetext.backbones.attention import cosine_scores
from kinetext.backbones.base import Backbone, Layer
from kinetext.backbones.text_table import TextTable, WordFeatures, class_means, encode_table
from kinetext.core import plugins
from kinetext.core.plugins import Options

Tokens = dict[int, Tensor]  # layer -> tokens_BTNV


@dataclass(frozen=True)
class LossInputs:
    """What the losses of a batch are computed from: features of clips and texts, and what belongs together.

    Classes: `target_B` is each clip's class and `rivals_KK` true where the column's class is the row's own or one of its rivals.
    Captions: text b belongs to clip b, `target_B` counts up and `rivals_KK` is None.
    """

    video: Any
    text: Any
    target_B: Tensor
    rivals_KK: Tensor | None = None
    label_smoothing: float = 0.0
    log_prior_K: Tensor | None = (
        None  # tau x log of the classes' shares of the training clips (training.logit_adjustment)
    )

    def adjusted(self, scores_BK: Tensor) -> Tensor:
        """Return logits of classes as a loss takes them, with training.logit_adjustment (Menon et al., ICLR 2021, eq. 10)."""
        return scores_BK if self.log_prior_K is None else scores_BK + self.log_prior_K


class Method(nn.Module):
    """Mean pooling: frame features are averaged, class texts are averaged, the score is their cosine."""

    Config: ClassVar[type[Options]] = Options
    trains: ClassVar[bool] = True  # false: there is nothing to train
    fits: ClassVar[bool] = False  # true: `fit` in the place of gradient descent
    needs_descriptions: ClassVar[bool] = False  # class names alone do not do
    needs_training_clips: ClassVar[bool] = False  # of every class: refused where a protocol has classes without any
    tasks: ClassVar[tuple[Literal["classes", "captions"], ...]] = ("classes", "captions")
    sees_order: bool = True  # false: a test proves that the order of frames changes nothing
    inside: bool = False  # whether `layer` runs in the place of each layer of the image encoder
    gradient_checkpointing: bool = False  # of the method's own layers (training.gradient_checkpointing)
    patches: bool = False  # whether patch tokens are read, beside each frame's summary

    def __init__(self, backbone: Backbone, config: Any) -> None:
        super().__init__()
        self.backbone = backbone
        self.config = config
        self.loss_terms = nn.ModuleDict()  # training.terms, while it trains
        self.fitted: dict[str, Tensor] = {}  # what `fit` found: the checkpoint of a method that fits

    @classmethod
    def check(cls, config: Any) -> None:
        """Raise ValueError for options that contradict each other, before anything runs."""

    @classmethod
    def check_depth(cls, config: Any, depth: int, backbone: str) -> None:
        """Raise ValueError for options that an image encoder with `depth` layers cannot serve."""

    @classmethod
    def gives_video_feature(cls, config: Any) -> bool:
        """Return whether `encode_tokens` gives one feature [B, D] per video, which another method may build on."""
        return True

    # image side

    @property
    def levels(self) -> tuple[int, ...]:
        """The layers of the image encoder that the method reads, 1 to num_layers, the last one included."""
        return (self.backbone.num_layers,)

    def layer(self, number: int, layer: Layer, x_BTNV: Tensor) -> Tensor:
        """Return the output [B, T, N, V] of layer `number` (from 1) of the image encoder; used if `inside`."""
        return layer(x_BTNV.flatten(0, 1)).unflatten(0, x_BTNV.shape[:2])

    def image_tokens(self, frames_BTCHW: Tensor) -> Tokens:
        """Return the tokens that the method reads, from frames (uint8, or already normalised)."""
        through = self.layer if self.inside else None
        tokens = self.backbone.visual_tokens(frames_BTCHW, self.levels, through)
        return tokens if self.patches else {k: self.backbone.summary(x)[:, :, None] for k, x in tokens.items()}

    def summaries(self, tokens: Tokens, level: int | None = None) -> Tensor:
        """Return each frame's summary [B, T, V] after a layer, by default the last one."""
        x_BTNV = tokens[self.backbone.num_layers if level is None else level]
        return self.backbone.summary(x_BTNV) if self.patches else x_BTNV[:, :, 0]

    def patch_tokens(self, tokens: Tokens, level: int) -> Tensor:
        """Return the patch tokens [B, T, h * w, V] after a layer; the summaries in their place if none are read."""
        x_BTNV = tokens[level]
        return self.backbone.patches(x_BTNV) if self.patches else x_BTNV

    def frame_features(self, tokens: Tokens) -> Tensor:
        """Return the backbone's frame features [B, T, D]."""
        return self.backbone.project(self.summaries(tokens))

    def encode_frames(self, frames_BTD: Tensor) -> Any:
        """Return the video's features from frame features: here [B, D], their mean."""
        return frames_BTD.mean(1)

    def encode_tokens(self, tokens: Tokens) -> Any:
        """Return the video's features from tokens."""
        return self.encode_frames(self.frame_features(tokens))

    def encode_video(self, frames_BTCHW: Tensor) -> Any:
        """Return the video's features from frames."""
        return self.encode_tokens(self.image_tokens(frames_BTCHW))

    # text side

    def encode_words(self, table: TextTable) -> WordFeatures:
        """Return the text encoder's features of every sentence and word; computed once if the text encoder is frozen."""
        return encode_table(self.backbone, table)

    def pool_texts(self, words: WordFeatures, table: TextTable) -> Any:
        """Return the classes' features: here [K, D], the mean over all of a class's sentences."""
        return class_means(words.sentence_SD, table, torch.ones_like(table.motion_S))

    def encode_texts(self, table: TextTable) -> Any:
        """Return the classes' features."""
        return self.pool_texts(self.encode_words(table), table)

    # scores and losses

    def score(self, video: Any, text: Any) -> Tensor:
        """Return logits [B, K] of all pairs; evaluation passes the texts in chunks."""
        return self.backbone.logits(cosine_scores(video, text))

    def losses(self, batch: LossInputs) -> dict[str, Tensor]:
        """Return the named terms whose sum training minimises; each is logged as a curve.

        Here the cross-entropy over all classes, and for captions the symmetric contrastive loss.
        """
        scores_BK = self.score(batch.video, batch.text)
        if batch.rivals_KK is None:
            return {"contrastive": contrastive_loss(scores_BK, batch.label_smoothing)}
        scores_BK = batch.adjusted(scores_BK)
        return {"cross_entropy": F.cross_entropy(scores_BK, batch.target_B, label_smoothing=batch.label_smoothing)}

    def fit(self, frames_NTD: Tensor, target_N: Tensor, text: Any) -> None:
        """Set `fitted` from the training clips' frame features, classes and class features; used if `fits`."""
        raise NotImplementedError(f"{type(self).__name__} says that it fits, and does not override `fit`")

    # parameters

    def new_parameters(self) -> dict[str, nn.Parameter]:
        """Return the parameters that the backbone did not have when it was loaded."""
        parameters = self.named_parameters()
        return {name: p for name, p in parameters if is_new(p) and not name.startswith("loss_terms.")}


def is_new(parameter: nn.Parameter) -> bool:
    """Return whether a parameter is not one that the backbone was loaded with."""
    return not getattr(parameter, "is_pretrained", False)


def contrastive_loss(scores_BB: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Return symmetric InfoNCE (CLIP, Radford et al. 2021): the mean of the cross-entropies video to text and text to video."""
    target_B = torch.arange(len(scores_BB), device=scores_BB.device)
    to_text = F.cross_entropy(scores_BB, target_B, label_smoothing=label_smoothing)
    to_video = F.cross_entropy(scores_BB.T, target_B, label_smoothing=label_smoothing)
    return (to_text + to_video) / 2


def configure_method(name: str, options: dict[str, Any]) -> tuple[type[Method], Any]:
    """Return a method's class and its Config. Raises ValueError for an unknown name or option."""
    method = plugins.load("methods", name)
    return method, plugins.configure(method, options)


def build_method(backbone: Backbone, name: str, options: dict[str, Any]) -> Method:
    """Return the method of this name. Raises ValueError for an unknown name or option."""
    method, config = configure_method(name, options)
    return method(backbone, config)
