"""Mixup and CutMix: each clip of a batch with a part of another one, and a loss that asks for both classes, by torchvision's
transforms. A clip's partner is the one before it among those of its process; one box, or one share, for a whole batch.

B clips of this process, T frames, C channels, H, W pixels.
"""

from dataclasses import replace

import torch
from torch import Tensor

from kinetext.backbones.open_clip_vit import Backbone
from kinetext.config.training import TrainingOptions
from kinetext.core import distributed
from kinetext.training.batches import Batch
from kinetext.training.step import draw_anew


def mixed(batch: Batch, backbone: Backbone, training: TrainingOptions, place: tuple[int, ...]) -> Batch:
    """The batch with its frames mixed (normalised floats), and each clip's partner's class; as it is, if nothing is to be
    mixed or there is one clip. `place` says which step it is: seed, epoch, number.
    """
    if not training.mixes or len(batch.places) < 2:
        return batch
    assert isinstance(batch.clips, Tensor)
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    draw_anew(*place, distributed.rank(), 1, 1)  # the last 1: no piece of a step draws the same
    B = len(batch.places)
    ways = [v2.MixUp(alpha=training.mixup, num_classes=B)] if training.mixup else []
    ways += [v2.CutMix(alpha=training.cutmix, num_classes=B)] if training.cutmix else []
    video_BTCHW = tv_tensors.Video(backbone.normalise(batch.clips))
    mixed_BTCHW, share_BB = v2.RandomChoice(ways)(video_BTCHW, torch.arange(B))
    share = float(share_BB[0, 0])  # CutMix's is that of the pixels that are left
    return replace(
        batch, clips=mixed_BTCHW.as_subclass(Tensor), other_B=batch.text_N[batch.part].roll(1, 0), share=share
    )
