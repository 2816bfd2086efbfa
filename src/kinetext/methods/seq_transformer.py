"""A temporal transformer over CLIP's frame features: CLIP4Clip's seqTransf (Luo et al., Neurocomputing 2022) and
ActionCLIP's Transf (Wang et al., arXiv:2109.08472), the posterior structure that STAN's paper compares itself with.

Frame features and frame positions go through L pre-LayerNorm blocks, the features themselves are added again, and frames
are averaged. `init: clip4clip`: 4 blocks and positions that start as copies of the text tower's first ones, frames
normalised before the mean (ArrowLuo/CLIP4Clip @ 508ffa3). `init: actionclip`: 6 blocks drawn from N(0, 0.02), mean of the
frames as they are (sallymmx/ActionCLIP @ 31c34df, Visual_Prompt.py). Trains CLIP and the blocks. Adds 12.65 M or 18.95 M
parameters at 512 numbers a feature (tests/contracts/test_methods.py).

Before training it equals, for `clip4clip`, open_clip's own text blocks run over the frames without their mask, plus the
frames, normalised and averaged; for `actionclip` the same of its random blocks. It is not mean_pool: nothing starts at
zero. It sees the order of frames by their positions alone. Tests prove all three.

B clips, T frames, D joint width, P positions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from kinetext.backbones.attention import attend_with, feed_forward
from kinetext.core.plugins import Options
from kinetext.methods import Method, Tokens

if TYPE_CHECKING:
    from kinetext.backbones.open_clip_vit import Backbone

LAYERS = {"clip4clip": 4, "actionclip": 6}  # --cross_num_hidden_layers in CLIP4Clip's README; Visual_Prompt.py


class Config(Options):
    """Whose it is."""

    init: Literal["clip4clip", "actionclip"] = Field(
        "clip4clip", description="clip4clip: copies of CLIP's text blocks, frames normalised; actionclip: N(0, 0.02)"
    )
    layers: int | None = Field(
        None, ge=1, description="blocks; null: 4 for clip4clip (fewer if the text tower has fewer), 6 for actionclip"
    )


class SeqTransformer(Method):
    """Mean pooling of frame features that have seen each other."""

    def __init__(self, backbone: Backbone, config: Config) -> None:
        super().__init__(backbone, config)
        self.options = config
        originals, width = backbone.clip.transformer.resblocks, backbone.embed_dim
        copied = config.init == "clip4clip"
        layers = config.layers or (min(LAYERS["clip4clip"], len(originals)) if copied else LAYERS["actionclip"])
        text_width = backbone.clip.positional_embedding.shape[1]
        if copied and text_width != width:
            raise ValueError(
                f"seq_transformer: init: clip4clip copies text blocks of width {text_width} for features of {width}; "
                "take init: actionclip"
            )
        if copied and layers > len(originals):
            raise ValueError(
                f"seq_transformer: layers is {layers}, but init: clip4clip has only {len(originals)} text blocks to "
                "copy; take fewer or init: actionclip"
            )
        first = originals[0]
        heads, activation = first.attn.num_heads * width // text_width, type(first.mlp.gelu)
        self.blocks = nn.ModuleList(type(first)(width, max(1, heads), act_layer=activation) for _ in range(layers))
        self.position_PD = nn.Parameter(0.02 * torch.randn(backbone.context_length, width))
        if copied:
            for block, original in zip(self.blocks, originals, strict=False):
                block.load_state_dict(original.state_dict())
            self.position_PD.data.copy_(backbone.clip.positional_embedding)
        else:
            self.blocks.apply(_draw)

    def encode_tokens(self, tokens: Tokens) -> Tensor:
        """The video feature [B, D]."""
        frames_BTD = self.backbone.project(tokens[self.backbone.num_layers][:, :, 0])
        T, most = frames_BTD.shape[1], len(self.position_PD)
        if most < T:
            raise ValueError(f"seq_transformer takes at most {most} frames (CLIP's text positions), not {T}")
        x = frames_BTD + self.position_PD[:T]
        for block in self.blocks:
            x = x + attend_with(block, x)
            x = x + feed_forward(block, x)
        x = x + frames_BTD
        return (F.normalize(x, dim=-1) if self.options.init == "clip4clip" else x).mean(1)


def _draw(module: nn.Module) -> None:
    """ActionCLIP's start: Linears N(0, 0.02) without bias; in_proj is no Linear and keeps torch's own."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


def build(backbone: Backbone, config: Config) -> Method:
    """The method on this backbone."""
    return SeqTransformer(backbone, config)
