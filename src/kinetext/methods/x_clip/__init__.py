"""X-CLIP (Ni et al., "Expanding Language-Image Pretrained Models for General Video Recognition", ECCV 2022): frames
exchange messages in the image encoder, and texts are prompted by the video.

1. Messages: in every layer of the image encoder each frame sends a message, a linear function of its summary. The
   messages of a clip attend to each other, and the tokens of a frame attend to the frame's message as one more key.
2. Multi-frame integration: the frame features go through a transformer layer with positions, plus a residual, and are
   averaged to the video feature.
3. Video-conditioned prompts: two layers let each text attend to the patches of the last layer (without the final
   LayerNorm), averaged over frames. The result, times a factor per channel that starts at 0.1, is added to the text.

The score is the cosine of the video feature with the prompted text, times CLIP's scale, which is frozen. CLIP's image
encoder and all added parameters train; the text encoder is frozen by default. On ViT-B/16 with 8 frames the method
adds 45 308 416 parameters: messages 35.454 M, integration 3.156 M, prompts 6.698 M.

Before training the method does not equal zero-shot CLIP, because no part starts at zero. It equals the released code
with the same weights, gradients included (microsoft/VideoX @ 1744b21; tests/parity/test_x_clip_numbers.py), and
transformers.XCLIPModel.

Differences from the released code: positions of the frames are interpolated if a clip does not have `frames` frames;
several sentences of a class are averaged; stochastic depth, which is 0 in the released configurations, is left out. On
a backbone without a class token, the summary of a frame is its pooled output; there too, the method does not equal
zero-shot CLIP before training.

Released settings for Kinetics-400 (microsoft/VideoX @ 1744b21, X-CLIP/configs/k400; experiments/x_clip_k400.yaml): text
encoder frozen, AdamW, learning rate 8e-6, ten times as much for new parameters, weight decay 0.001, 30 epochs of 256
clips, 5 of warm-up, label smoothing 0.1, mixup 0.8, cutmix 1.0; the softmax of 4 x 3 views is averaged.

B clips, T frames, N patches, K classes or captions, V width of the image encoder, D joint width.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from kinetext.backbones.base import Backbone, Layer
from kinetext.backbones.text_table import TextTable, WordFeatures, unscaled_class_means
from kinetext.core.plugins import Options
from kinetext.methods.base import ALL_TASKS, LEARNING_NEW, Method, SearchSpace, Tokens
from kinetext.methods.blocks import score_in_chunks
from kinetext.methods.x_clip.blocks import Integration, Message, PromptGenerator

HEAD_WIDTH = 64  # channels per head of the added layers


class Video(NamedTuple):
    """The feature of each clip [B, D], and the features of the patches [B, N, D] that prompt the texts."""

    video_BD: Tensor
    patches_BND: Tensor


class XClip(Method):
    """Exchange messages between frames inside the image encoder, and prompt the texts by the video."""

    paper = "X-CLIP (Ni et al., ECCV 2022)"
    mechanism = (
        "Lets frames exchange messages in each layer, runs a transformer over the frame features, and adapts each "
        "class text to the video."
    )
    equals_before_training = "not zero-shot CLIP: the added layers start at random"
    cannot_see = (
        "Frames exchange one vector each per layer, so patches of different frames are never compared. Only the transformer "
        "after the image encoder knows frame order, and it reads one vector per frame."
    )
    published = (
        "Kinetics-400 top-1 83.8 (8 frames, 4 x 3 views), 84.7 (16 frames), B/16; microsoft/VideoX @ 1744b21, X-CLIP README",
        "zero-shot top-1 HMDB51 44.6, UCF101 72.0, Kinetics-600 65.2 (32 frames, B/16); the same",
        "16-shot top-1 HMDB51 64.0, UCF101 91.4 (32 frames, B/16); the same",
    )
    inside = True
    patches = True
    tasks = ALL_TASKS
    search_space: ClassVar[SearchSpace] = LEARNING_NEW

    class Config(Options):
        """Sizes of the added layers."""

        frames: int = Field(8, ge=1, description="positions of frames; clips of other lengths interpolate them")
        integration_layers: int = Field(1, ge=1, description="layers of the multi-frame integration transformer")
        prompt_layers: int = Field(2, ge=1, description="layers of the prompt generator")
        prompt_scale: float = Field(0.1, description="initial factor on the prompts")
        heads: int | None = Field(
            None,
            ge=1,
            description="heads of the added layers on features; null: one per 64 channels of the joint space",
        )

    config: Config

    def __init__(self, backbone: Backbone, config: Config) -> None:
        super().__init__(backbone, config)
        D, V = backbone.embed_dim, backbone.width
        heads = config.heads or max(1, D // HEAD_WIDTH)
        if D % heads:
            raise ValueError(
                f"x_clip: heads is {heads}, which does not divide the width of the joint space, {D}; take a divisor"
            )
        self.messages = nn.ModuleList(Message(V, layer.num_heads) for layer in backbone.layers)
        self.integration = Integration(backbone, config.frames, config.integration_layers, heads)
        self.prompts = PromptGenerator(D, V, config.prompt_layers, heads, config.prompt_scale)

    @classmethod
    def gives_frame_motion(cls, config: Config) -> bool:
        return False

    def layer(self, number: int, layer: Layer, x_BTNV: Tensor) -> Tensor:
        """Return the output [B, T, N, V] of a layer whose tokens also attend to the message of their frame."""
        message_BTV = self.messages[number - 1](self.backbone.summary(x_BTNV))
        x_SNV = x_BTNV.flatten(0, 1)
        message = layer.placed(None).keys_values(message_BTV.flatten(0, 1)[:, None])  # a message has no position
        x_SNV = x_SNV + layer.attention(x_SNV, extra_keys_values=message)
        return (x_SNV + layer.mlp(x_SNV)).unflatten(0, x_BTNV.shape[:2])

    def encode_tokens(self, tokens: Tokens) -> Video:
        """Return the video features and the features of the patches, computed from the tokens of the last layer."""
        patches_BTNV = self.patch_tokens(tokens, self.backbone.num_layers)
        return Video(self.integration(self.frame_features(tokens)), self.prompts.patches(patches_BTNV))

    def pool_texts(self, words: WordFeatures, table: TextTable) -> Tensor:
        """Return the class features [K, D], with the norm of the encoder's features."""
        return unscaled_class_means(words.sentence_SD, table)

    def score(self, video: Video, text: Tensor) -> Tensor:
        """Return the logits [B, K] of all pairs. Each text is prompted by each clip."""
        unit_BD = F.normalize(video.video_BD, dim=-1)

        def cosines(text_KD: Tensor) -> Tensor:
            prompted_BKD = text_KD + self.prompts(text_KD, video.patches_BND)
            return torch.einsum("bd,bkd->bk", unit_BD, F.normalize(prompted_BKD, dim=-1))

        numbers_per_text = 4 * video.video_BD.numel()  # of the MLP of the prompt generator
        return self.backbone.logits(score_in_chunks(cosines, (text,), numbers_per_text))
