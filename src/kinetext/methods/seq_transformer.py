"""A temporal transformer over CLIP's frame features: CLIP4Clip's seqTransf (Luo et al., Neurocomputing 2022) and
ActionCLIP's Transf (Wang et al., arXiv:2109.08472). STAN's paper calls this a posterior structure and compares with it.

Frame features plus frame positions go through L pre-LayerNorm blocks with an outer residual, then are averaged over
frames. With `init: clip4clip` there are 4 blocks. Blocks and positions start as copies of the first ones of the text
encoder, and frames are normalised before the mean (ArrowLuo/CLIP4Clip @ 508ffa3). With `init: actionclip` there are 6
blocks drawn from N(0, 0.02), and frames are not normalised (sallymmx/ActionCLIP @ 31c34df, Visual_Prompt.py). CLIP and
the blocks train. The method adds 12.65 M (clip4clip) or 18.95 M (actionclip) parameters at D = 512
(tests/methods/test_seq_transformer.py).

Before training, `clip4clip` equals the text blocks of open_clip applied to the frames without the causal mask, plus the
frames, normalised and averaged. `actionclip` equals the output of random blocks plus the frames, averaged. Neither
equals mean_pool, because no part starts at zero. Frame order matters only through the positions. Tests check these
statements. On a backbone without a class token the frame features are its pooled image features, and before training
the method equals the same function of them and of that model's text blocks.

With the same weights and LayerNorm eps (1e-12), the method reproduces both codes, gradients included (here eps is the
backbone's 1e-5, which changes features by 2e-6; tests/parity/test_temporal_head.py).

Released settings: CLIP4Clip on MSR-VTT (README): 12 frames, learning rate 1e-4 (CLIP: 1e-7), weight decay 0.2, a tenth
of the steps as warm-up, 5 epochs of 128 pairs. ActionCLIP on Kinetics-400 (configs/k400): learning rate 5e-6, ten times
as much for the blocks, weight decay 0.2, 50 epochs of 128 clips, one of 16 prompts drawn for each clip.

B clips, T frames, D joint width, P positions.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from kinetext.backbones.base import Backbone
from kinetext.core.plugins import Options
from kinetext.methods.base import ALL_TASKS, LEARNING_NEW, Method, SearchSpace, Tokens

LAYERS = {"clip4clip": 4, "actionclip": 6}  # --cross_num_hidden_layers in CLIP4Clip's README; Visual_Prompt.py


class SeqTransformer(Method):
    """Average frame features after a transformer over the frames."""

    paper = (
        "CLIP4Clip's seqTransf (Luo et al., Neurocomputing 2022); ActionCLIP's Transf (Wang et al., arXiv:2109.08472)"
    )
    mechanism = "Runs a transformer over the frame features and averages its outputs."
    equals_before_training = (
        "not zero-shot CLIP: its blocks start as copies of CLIP's text blocks (init: clip4clip) or at random "
        "(actionclip)"
    )
    cannot_see = (
        "Reads one vector per frame: it cannot compare patches of different frames, and it sees only motion that "
        "changes this vector."
    )
    tasks = ALL_TASKS
    search_space: ClassVar[SearchSpace] = LEARNING_NEW

    class Config(Options):
        """Options of the transformer."""

        init: Literal["clip4clip", "actionclip"] = Field(
            "clip4clip",
            description="clip4clip: copies of CLIP's text blocks, frames normalised; actionclip: N(0, 0.02)",
        )
        layers: int | None = Field(
            None,
            ge=1,
            description="blocks; null: 4 for clip4clip (fewer if the text encoder has fewer), 6 for actionclip",
        )

    config: Config

    def __init__(self, backbone: Backbone, config: Config) -> None:
        super().__init__(backbone, config)
        originals, width = backbone.text_layers, backbone.embed_dim
        copied = config.init == "clip4clip"
        layers = config.layers or (min(LAYERS["clip4clip"], len(originals)) if copied else LAYERS["actionclip"])
        positions_LW = backbone.text_positions()
        text_width = positions_LW.shape[1]
        if copied and text_width != width:
            raise ValueError(
                f"seq_transformer: init: clip4clip copies text layers of width {text_width} for features of {width}; "
                "take init: actionclip"
            )
        if copied and layers > len(originals):
            raise ValueError(
                f"seq_transformer: layers is {layers}, but init: clip4clip has only {len(originals)} text layers to "
                "copy; take fewer or init: actionclip"
            )
        num_heads = max(1, originals[0].num_heads * width // text_width)
        self.blocks = nn.ModuleList(backbone.new_layer(width, num_heads) for _ in range(layers))
        self.position_PD = nn.Parameter(0.02 * torch.randn(backbone.context_length, width))
        if copied:
            for block, original in zip(self.blocks, originals, strict=False):
                block.load_state_dict(original.state_dict())
            self.position_PD.data.copy_(positions_LW)
        else:
            self.blocks.apply(_initialize)

    @classmethod
    def gives_frame_motion(cls, config: Any) -> bool:
        return True

    def frame_motion(self, tokens: Tokens) -> Tensor:
        """Return the frame features [B, T, D] after the blocks."""
        return self.transform(self.frame_features(tokens))

    def encode_frames(self, frames_BTD: Tensor) -> Tensor:
        """Return the video features [B, D]. Raises ValueError for more frames than positions."""
        return self.transform(frames_BTD).mean(1)

    def transform(self, frames_BTD: Tensor) -> Tensor:
        """Return the frame features [B, T, D] after the blocks, normalised for clip4clip."""
        T, most = frames_BTD.shape[1], len(self.position_PD)
        if most < T:
            raise ValueError(f"seq_transformer takes at most {most} frames (CLIP's text positions), not {T}")
        x = frames_BTD + self.position_PD[:T]
        for block in self.blocks:
            x = block(x)
        x = x + frames_BTD
        return F.normalize(x, dim=-1) if self.config.init == "clip4clip" else x


def _initialize(module: nn.Module) -> None:
    """Initialise as ActionCLIP does: weights of a Linear from N(0, 0.02), biases zero.

    The stacked projection `in_proj` is not a Linear and keeps torch's initialisation.
    """
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
