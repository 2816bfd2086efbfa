"""The contract of a method: a module here, named after itself, with a frozen `Config` and `build(backbone, config)`
that returns a `Method`; `TRAINS = False` if there is nothing to train, `NEEDS_DESCRIPTIONS = True` if class names alone
do not do. Its docstring says the paper, what trains, what it adds and what it equals before training.

A method never sees a path. Its image side reads the tokens of some layers of the image tower, so that a frozen tower
runs once per clip and not once per epoch. Scores are cosines times the backbone's inverse temperature.

B clips, T frames, N tokens (class token first; 1 if the method asks for no patches), V visual width, K classes,
D joint width, S sentences, L words.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinetext.backbones.attention import cosine_scores
from kinetext.backbones.text_table import TextTable, WordFeatures, class_means, encode_table
from kinetext.core import plugins
from kinetext.core.plugins import Options

if TYPE_CHECKING:  # open_clip takes seconds to import, and a check of config.yaml reads every method's Config
    from kinetext.backbones.open_clip_vit import Backbone

Tokens = dict[int, Tensor]  # layer -> tokens_BTNV


class Method(nn.Module):
    """Mean pooling in itself: frame features are averaged, class texts are averaged, the score is their cosine.

    A method overrides what it does otherwise: `encode_tokens` (and `levels`, `patches`) on the image side,
    `pool_texts` on the text side, `score` and `loss`.
    """

    patches = False  # whether patch tokens are needed beside the class token

    def __init__(self, backbone: Backbone, config: Options) -> None:
        super().__init__()
        self.backbone = backbone
        self.config = config

    @property
    def levels(self) -> tuple[int, ...]:
        """The layers of the image tower that the method reads, 1 to num_layers, the last one included."""
        return (self.backbone.num_layers,)

    def image_tokens(self, frames_BTCHW: Tensor) -> Tokens:
        """The tokens that the method reads, from the image tower."""
        tokens = self.backbone.visual_tokens(frames_BTCHW, self.levels)
        return tokens if self.patches else {level: t[:, :, :1] for level, t in tokens.items()}

    def encode_tokens(self, tokens: Tokens) -> Any:
        """The video's features from the trunk's tokens: here [B, D], the mean of the frame features."""
        return self.backbone.project(tokens[self.backbone.num_layers][:, :, 0]).mean(1)

    def encode_video(self, frames_BTCHW: Tensor) -> Any:
        """The video's features from frames (uint8, or already normalised)."""
        return self.encode_tokens(self.image_tokens(frames_BTCHW))

    def encode_words(self, table: TextTable) -> WordFeatures:
        """The text tower's features of every sentence and word; the same for every method."""
        return encode_table(self.backbone, table)

    def pool_texts(self, words: WordFeatures, table: TextTable) -> Any:
        """The classes' features from their sentences': here [K, D], the mean over all of a class's sentences."""
        return class_means(words.sentence_SD, table, torch.ones_like(table.motion_S))

    def encode_texts(self, table: TextTable) -> Any:
        """The classes' features."""
        return self.pool_texts(self.encode_words(table), table)

    def score(self, video: Any, text: Any) -> Tensor:
        """Logits [B, K]."""
        return self.backbone.logit_scale * cosine_scores(video, text)

    def loss(self, video: Any, text: Any, target_B: Tensor, rivals_KK: Tensor, label_smoothing: float) -> Tensor:
        """What training minimises: here the cross-entropy over all classes. `rivals_KK` is true where the column's
        class is the row's own or one of its rivals.
        """
        return F.cross_entropy(self.score(video, text), target_B, label_smoothing=label_smoothing)

    def set_temperature(self, temperature: float) -> None:
        """Divide cosines by this from now on, instead of by the backbone's temperature."""
        with torch.no_grad():
            self.backbone.clip.logit_scale.fill_(-math.log(temperature))

    def new_parameters(self) -> dict[str, nn.Parameter]:
        """The parameters that the method adds to the backbone."""
        return {name: p for name, p in self.named_parameters() if not name.startswith("backbone.")}


def configure_method(name: str, options: dict[str, Any]) -> tuple[Any, Any]:
    """A method's module and its Config. Raises ValueError for an unknown name or option."""
    module = plugins.load_module(sys.modules[__name__], name)
    return module, plugins.configure(module, options)


def build_method(backbone: Backbone, name: str, options: dict[str, Any]) -> Method:
    """The method of this name. Raises ValueError for an unknown name or option."""
    module, config = configure_method(name, options)
    return module.build(backbone, config)
