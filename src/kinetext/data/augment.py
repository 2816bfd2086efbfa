"""Augment a clip. All its frames get the same transforms, which depend only on seed, epoch and index of the clip.

The pixels are therefore the same after a training is resumed and with any number of workers or processes. The
transforms are torchvision's (transforms.v2), which treat a clip [T, C, H, W] as one image. Their order is that of
torchvision's reference recipes: crop, flip, RandAugment, erasing.

T frames, C channels (RGB), H, W pixels.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kinetext.config.augment import AugmentOptions

DIRECTION = re.compile(r"\b(left|right|leftwards?|rightwards?|(anti|counter)?-?clockwise)\b", re.IGNORECASE)


def may_flip(options: AugmentOptions, labels: Sequence[str], captioned: bool = False) -> bool:
    """Return whether clips may be mirrored.

    With `auto`, clips are not mirrored if a class name contains a direction, because the mirrored clip would belong to
    another class. Clips with captions are not mirrored either, because captions are not searched for directions.
    """
    if options.flip == "auto":
        return not captioned and not any(DIRECTION.search(label.replace("_", " ")) for label in labels)
    return options.flip == "on"


def augment_clip(frames_TCHW: Tensor, options: AugmentOptions, flip: bool, draw: Sequence[int]) -> Tensor:
    """Return the augmented frames of a clip, uint8 [T, C, S, S], on the device of the input.

    S is the short side of the input. `draw` (seed, epoch, index) determines all random choices.
    """
    transforms = _transforms(options, flip, min(frames_TCHW.shape[-2:]))
    if options.crop is None:
        frames_TCHW = crop_square(frames_TCHW)
    seed = np.random.SeedSequence(list(draw)).generate_state(1)[0]
    with torch.random.fork_rng(devices=[]):  # transforms draw from the global generator: restore it
        torch.manual_seed(int(seed))
        for transform in transforms:
            frames_TCHW = transform(frames_TCHW)
    return frames_TCHW


def crop_square(frames_TCHW: Tensor, position: float = 0.5) -> Tensor:
    """Return the largest square at the start (position 0), in the middle (0.5) or at the end (1) of the long side."""
    H, W = frames_TCHW.shape[-2:]
    side = min(H, W)
    top, left = round((H - side) * position), round((W - side) * position)
    return frames_TCHW[..., top : top + side, left : left + side]


@cache
def _transforms(options: AugmentOptions, flip: bool, side: int) -> list[Any]:
    from torchvision.transforms import InterpolationMode, v2  # takes half a second

    transforms: list[Any] = []
    if options.crop is not None:
        scale, bicubic = (options.crop, 1.0), InterpolationMode.BICUBIC
        transforms.append(v2.RandomResizedCrop([side, side], scale=scale, interpolation=bicubic, antialias=True))
    if flip:
        transforms.append(v2.RandomHorizontalFlip())
    if options.rand_augment is not None:
        transforms.append(
            v2.RandAugment(options.rand_augment_ops, options.rand_augment, interpolation=InterpolationMode.BILINEAR)
        )
    if options.erasing:
        transforms.append(v2.RandomErasing(options.erasing))
    return transforms
