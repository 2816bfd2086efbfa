"""ViFi-CLIP's vision-language prompts (Rasheed et al., CVPR 2023, arXiv:2212.03640): learned vectors in both encoders.

Image side: vectors are appended to the patches of every frame, after positions are added and before the norm that
precedes the first layer, so they have no position. Before layers 2 to `vision_depth`, they are replaced by those of the
layer; the last ones stay until the last layer. They are dropped before the summary is taken, which matters for
backbones that pool patches.

Text side: vectors are inserted after the start token and replaced before layers 2 to `text_depth`. They take positions
1 to P and shift the words of the sentence. With fewer vectors than words, the released code (muzairkhattak/ViFi-CLIP @
e2d1948) replaces the first words of "a photo of a" and keeps the rest: to match it, give the rest as the sentence.

Only the vectors and the norm and projection of the image encoder train (`image_encoder: frozen`, `text_encoder:
frozen`). Vectors start from N(0, 0.02). On ViT-B/16, 16 + 16 vectors in 9 layers (base-to-novel, default) add 184 320
parameters, 10 + 10 in 12 layers (few-shot) 153 600. A model with fewer layers has vectors in all of them.

Before training the method does not equal zero-shot CLIP: the random vectors take part in attention. It is zero-shot
CLIP with random prompts. Frame order has no effect. A backbone without a class token pools its tokens without the
vectors, and before training it is that model with random prompts.

In the released code prompts are rounded to float16 even in a float32 model (except the first ones of the text); here
they are not. Released settings, both *from ViFi-CLIP's weights of Kinetics-400* and not from CLIP: base-to-novel
learning rate 4e-2, 11 epochs; few-shot 8e-3, 50 epochs.

B clips, T frames, N tokens of a frame, P prompts, V width of the image encoder, W width of the text encoder, D depth.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from kinetext.backbones.base import Backbone
from kinetext.backbones.layer import Layer
from kinetext.backbones.text_table import TextTable, WordFeatures, encode_table
from kinetext.core.plugins import Options
from kinetext.methods.base import ALL_TASKS, IGNORES_ORDER, LEARNING_NEW, Method, SearchSpace

STD = 0.02  # of the vectors before training


class VlPrompts(Method):
    """Average frame features of an encoder with visual prompts, and encode texts with text prompts."""

    paper = "ViFi-CLIP's prompts (Rasheed et al., CVPR 2023)"
    mechanism = (
        "Adds learned vectors (prompts) to the tokens of both encoders, and new ones in each of the first layers."
    )
    equals_before_training = "not zero-shot CLIP: the prompts are random"
    cannot_see = IGNORES_ORDER
    what_trains = "with both encoders frozen, the prompts, and the norm and projection after the last image layer"
    tasks = ALL_TASKS
    sees_order = False
    search_space: ClassVar[SearchSpace] = LEARNING_NEW
    inside = True

    class Config(Options):
        """Options of the prompts. The defaults are the released ones for base-to-novel; few-shot: 10 in 12 layers."""

        vision_prompts: int = Field(16, ge=1, description="vectors per frame")
        vision_depth: int = Field(9, ge=0, description="image layers with vectors of their own; 0: no visual prompts")
        text_prompts: int = Field(16, ge=1, description="vectors per sentence")
        text_depth: int = Field(9, ge=0, description="text layers with vectors of their own; 0: no text prompts")

        @model_validator(mode="after")
        def _some(self) -> Any:
            if not self.vision_depth and not self.text_depth:
                raise ValueError("vision_depth and text_depth are both 0; take mean_pool, or set one of them")
            return self

    config: Config

    @classmethod
    def gives_frame_motion(cls, config: Any) -> bool:
        return False  # frames do not attend to each other

    def __init__(self, backbone: Backbone, config: Config) -> None:
        super().__init__(backbone, config)
        vision = min(config.vision_depth, backbone.num_layers)
        if config.text_depth and not backbone.takes_prompts:
            raise ValueError(
                f"vl_prompts: the text encoder of {type(backbone).__name__} takes no prompts; set text_depth: 0"
            )
        self.vision_DPV = _prompts(vision, config.vision_prompts, backbone.width) if vision else None
        self.text_DPW, self.inside_text = None, config.text_depth > 0
        if self.inside_text:
            text = min(config.text_depth, len(backbone.text_layers))
            self.text_DPW = _prompts(text, config.text_prompts, backbone.text_positions().shape[1])

    def change_embedding(self, x_BTNV: Tensor) -> Tensor:
        """Return the tokens with the first visual prompts after the patches."""
        return x_BTNV if self.vision_DPV is None else _append(x_BTNV, self.vision_DPV[0])

    def layer(self, number: int, layer: Layer, x_BTNV: Tensor) -> Tensor:
        """Return the output of a layer, with the prompts replaced before it or, in the last layer, dropped after it."""
        if self.vision_DPV is None:
            return super().layer(number, layer, x_BTNV)
        depth, P, _ = self.vision_DPV.shape
        if 1 < number <= depth:
            x_BTNV = _append(x_BTNV[:, :, :-P], self.vision_DPV[number - 1])
        x_BTNV = super().layer(number, layer, x_BTNV)
        return x_BTNV[:, :, :-P] if number == self.backbone.num_layers else x_BTNV

    def encode_words(self, table: TextTable) -> WordFeatures:
        """Return the features of every sentence and word, encoded with the text prompts."""
        return encode_table(self.backbone, table, () if self.text_DPW is None else tuple(self.text_DPW))


def _prompts(depth: int, count: int, width: int) -> nn.Parameter:
    return nn.Parameter(STD * torch.randn(depth, count, width))


def _append(x_BTNV: Tensor, prompts_PV: Tensor) -> Tensor:
    """Return the tokens with the prompts after the last token of each frame."""
    return torch.cat([x_BTNV, prompts_PV.to(x_BTNV.dtype).expand(*x_BTNV.shape[:2], -1, -1)], 2)
