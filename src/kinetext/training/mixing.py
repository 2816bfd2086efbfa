"""Mixup and CutMix by torchvision's transforms: each clip of a batch gets a part of another one, and a loss over both classes.

A clip's partner is the one before it among those of its process; one box, or one share, for a whole batch.

B clips of this process, T frames, C channels, H, W pixels.
"""

from dataclasses import replace

import torch
from torch import Tensor

from kinetext.backbones.base import Backbone
from kinetext.config.training import TrainingOptions
from kinetext.core import distributed
from kinetext.training.batches import Batch
from kinetext.training.step import Key, seed_from


def mix_clips(batch: Batch, backbone: Backbone, training: TrainingOptions, key: Key) -> Batch:
    """Return the batch with its frames mixed (normalised floats), and each clip's partner's class.

    The batch is returned as it is if nothing is to be mixed or there is one clip. `key` is (seed, epoch, step).
    """
    if not training.mixes or len(batch.places) < 2:
        return batch
    assert isinstance(batch.clips, Tensor)
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    seed_from(*key, distributed.rank(), 1, 1)  # the last 1: no piece of a step draws the same
    B = len(batch.places)
    transforms = [v2.MixUp(alpha=training.mixup, num_classes=B)] if training.mixup else []
    transforms += [v2.CutMix(alpha=training.cutmix, num_classes=B)] if training.cutmix else []
    video_BTCHW = tv_tensors.Video(backbone.normalize(batch.clips))
    mixed_BTCHW, share_BB = v2.RandomChoice(transforms)(video_BTCHW, torch.arange(B))
    share = float(share_BB[0, 0])  # CutMix's is that of the pixels that are left
    return replace(
        batch, clips=mixed_BTCHW.as_subclass(Tensor), other_B=batch.text_N[batch.part].roll(1, 0), share=share
    )
