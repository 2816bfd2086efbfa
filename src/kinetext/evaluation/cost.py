"""The floating-point operations of testing a clip, counted by torch. They do not depend on the machine.

Papers on video often report the operations of one view and count a multiply-add as one. Here all views of a test clip
count, and a multiply-add counts as two operations, as in torch.

V views, T frames, C channels, H, W pixels.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from kinetext.methods.base import Method


def gflops_per_clip(method: Method, frames_VTCHW: Tensor, text: list[Any]) -> float:
    """Return the 10^9 floating-point operations of encoding all views of one clip and scoring them for encoded texts.

    Matrix products, convolutions and attention count, with two operations for each multiply-add. Encoding the texts
    does not count, because it is done once for all clips.
    """
    # a module in inference mode shows the counter no matrix products
    with torch.inference_mode(False), torch.no_grad(), FlopCounterMode(display=False) as counter:
        video = method.encode_tokens(method.image_tokens(frames_VTCHW.clone()))
        for part in text:
            method.score(video, part)
    return counter.get_total_flops() / 1e9
