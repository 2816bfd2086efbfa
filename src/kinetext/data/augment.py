"""What augmentation makes of a clip's frames: the same for all of them, and decided by the clip's place in the training alone,
so that neither a resumed training nor the number of workers or processes changes a pixel.

The transforms are torchvision's (transforms.v2), which take a clip [T, C, H, W] for one image. Their order is that of
torchvision's own reference recipes: crop, flip, RandAugment, erasing.

T frames, C channels (RGB), H, W pixels.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kinetext.config.training import AugmentOptions

DIRECTION = re.compile(r"\b(left|right|leftwards?|rightwards?|(anti|counter)?-?clockwise)\b", re.IGNORECASE)


def flips(options: AugmentOptions, labels: Sequence[str], captioned: bool = False) -> bool:
    """Whether clips may be mirrored. `auto`: not where a class's name has a direction, for mirrored it is another class, and
    not where clips have captions, of which any may have one.
    """
    if options.flip == "auto":
        return not captioned and not any(DIRECTION.search(label.replace("_", " ")) for label in labels)
    return options.flip == "on"


def augmented(frames_TCHW: Tensor, options: AugmentOptions, flip: bool, place: Sequence[int]) -> Tensor:
    """uint8 frames, square and as high as the short side, on whichever device they are. `place` is what decides: seed,
    epoch, number.
    """
    transforms = _transforms(options, flip, min(frames_TCHW.shape[-2:]))
    if options.crop is None:
        frames_TCHW = square(frames_TCHW)
    seed = np.random.SeedSequence(list(place)).generate_state(1)[0]
    with torch.random.fork_rng(devices=[]):  # the transforms draw from the global generator: give it back
        torch.manual_seed(int(seed))
        for transform in transforms:
            frames_TCHW = transform(frames_TCHW)
    return frames_TCHW


def square(frames_TCHW: Tensor, at: float = 0.5) -> Tensor:
    """The part of whole frames that is as long as the short side: the first (at 0), the middle, or the last (at 1)."""
    H, W = frames_TCHW.shape[-2:]
    side = min(H, W)
    top, left = round((H - side) * at), round((W - side) * at)
    return frames_TCHW[..., top : top + side, left : left + side]


@cache
def _transforms(options: AugmentOptions, flip: bool, side: int) -> list[Any]:
    from torchvision.transforms import InterpolationMode, v2  # half a second, only where it is used

    made: list[Any] = []
    if options.crop is not None:
        scale, bicubic = (options.crop, 1.0), InterpolationMode.BICUBIC
        made.append(v2.RandomResizedCrop([side, side], scale=scale, interpolation=bicubic, antialias=True))
    if flip:
        made.append(v2.RandomHorizontalFlip())
    if options.rand_augment is not None:
        made.append(
            v2.RandAugment(options.rand_augment_ops, options.rand_augment, interpolation=InterpolationMode.BILINEAR)
        )
    if options.erasing:
        made.append(v2.RandomErasing(options.erasing))
    return made
