"""The text-side perception module of moted: it follows the text encoder and reads the words of ordered sentences.

One query per step attends to the words of all sentences of its group, then to the group's steps. Words and queries
carry the position of their sentence in the action, so "at the left" differs between the start and the end, and "red"
before "blue" from "red" after it.

G groups (classes, and pairs), M steps, R rows (sentences of groups), L words, D joint width.
"""

import math

import torch
from torch import Tensor, nn

from kinetext.backbones.text_steps import StepIndex
from kinetext.methods.blocks import Attention, zero_linear

FREQUENCIES = 8  # sines and cosines per position: 1 to 8 half periods over the action


class Positions(nn.Module):
    """Encode positions from 0 to 1 as vectors. NaN (the whole action) is a separate input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(2 * FREQUENCIES + 1, width)

    def forward(self, position: Tensor) -> Tensor:
        """Return one vector [..., D] per position."""
        whole = position.isnan()[..., None]
        angle = math.pi * position[..., None] * torch.arange(1, FREQUENCIES + 1, device=position.device)
        waves = torch.cat([angle.sin(), angle.cos()], -1).masked_fill(whole, 0.0)
        return self.project(torch.cat([waves, whole.to(waves.dtype)], -1))


class Reader(nn.Module):
    """Attend from each step to the words and then the steps of its group. The output is zero before training."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.positions = Positions(width)
        self.ln_words, self.ln_steps, self.ln_read, self.ln_out = (nn.LayerNorm(width) for _ in range(4))
        self.to_words, self.to_steps = Attention(width, heads), Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), zero_linear(4 * width, width))

    def forward(
        self, step_GMD: Tensor, word_SLD: Tensor, mask_SL: Tensor, position_S: Tensor, index: StepIndex
    ) -> Tensor:
        """Return the output [G, M, D] for each step. `mask_SL` is true for words and false for padding."""
        word_SLD = self.ln_words(word_SLD) + self.positions(position_S)[:, None]
        shape = (len(index.count_G), index.slots, *mask_SL.shape[1:])
        rows = (index.group_R, index.slot_R)
        words = word_SLD.new_zeros(*shape, word_SLD.shape[-1]).index_put(rows, word_SLD[index.sentence_R])
        mask = mask_SL.new_zeros(shape).index_put(rows, mask_SL[index.sentence_R])
        query_GMD = self.ln_steps(step_GMD) + self.positions(index.position_GM)
        read_GMD = query_GMD + self.to_words(query_GMD, words.flatten(1, 2), mask.flatten(1, 2))
        has_GM = torch.arange(step_GMD.shape[1], device=step_GMD.device) < index.count_G[:, None]
        state_GMD = self.ln_read(read_GMD)
        read_GMD = read_GMD + self.to_steps(state_GMD, state_GMD, has_GM)
        return self.mlp(self.ln_out(read_GMD)) * has_GM[..., None]
