"""What testing a clip costs, whatever the machine: its arithmetic, counted by torch.

Papers on video count the operations of one view and often one for each multiply-add. Here all views of a test clip
count, and a multiply-add counts as two, as torch counts.

V views, T frames, C channels, H, W pixels.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from kinetext.methods.base import Method


def gflops_per_clip(method: Method, frames_VTCHW: Tensor, text: list[Any]) -> float:
    """Return the billions of floating-point operations of one clip: all views encoded and scored for encoded texts.

    Matrix products, convolutions and attention count, two operations for each multiply-add. Texts are encoded once for
    all clips and do not count.
    """
    # a module in inference mode shows the counter no matrix products
    with torch.inference_mode(False), torch.no_grad(), FlopCounterMode(display=False) as counter:
        video = method.encode_tokens(method.image_tokens(frames_VTCHW.clone()))
        for part in text:
            method.score(video, part)
    return counter.get_total_flops() / 1e9
