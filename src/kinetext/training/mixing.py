"""Mixup and CutMix with torchvision's random parameters: each clip of a batch is mixed with a partner clip, and the
loss is the weighted mean over both classes.

The partner is at least `repeats` positions earlier in the part of this process and is not a copy of the clip. Each
process draws one CutMix box or one Mixup weight per batch.

B clips of this process, T frames, C channels, H x W pixels.
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
    """Return the batch with mixed, normalised clips, and with the partner's class and the weight of each clip.

    The batch is returned unchanged if mixing is off or if all items are copies of one clip. `key` is (seed, epoch,
    step).
    """
    partner_B = partners(batch.clip_ids[batch.part], training.repeats) if training.mixes else None
    if partner_B is None:
        return batch
    assert isinstance(batch.clips, Tensor)
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    seed_from(*key, distributed.rank(), 1, 1)  # the last 1: no piece of a step draws the same
    transforms = [v2.MixUp(alpha=training.mixup, num_classes=1)] if training.mixup else []
    transforms += [v2.CutMix(alpha=training.cutmix, num_classes=1)] if training.cutmix else []
    transform = transforms[int(torch.multinomial(torch.full((len(transforms),), 1 / len(transforms)), 1))]
    clips_BTCHW = backbone.normalize(batch.clips)
    other_BTCHW = clips_BTCHW[partner_B.to(clips_BTCHW.device)]
    params = transform.make_params([tv_tensors.Video(clips_BTCHW)])
    if "box" in params:
        left, top, right, bottom = params["box"]
        share = params["lam_adjusted"]  # of the pixels that are left
        mixed_BTCHW = clips_BTCHW.clone()
        mixed_BTCHW[..., top:bottom, left:right] = other_BTCHW[..., top:bottom, left:right]
    else:
        share = params["lam"]
        mixed_BTCHW = other_BTCHW.mul_(1 - share).add_(clips_BTCHW * share)
    return replace(batch, clips=mixed_BTCHW, other_B=batch.text_N[batch.part][partner_B], share=share)


def partners(clip_ids: list[str], repeats: int) -> Tensor | None:
    """Return the position [B] of the partner of each item, or None if all items are copies of one clip.

    Copies of a clip are neighbours. The item `repeats` positions earlier (cyclically) is therefore of another clip, and
    copies have different partners. If that item is a copy after all, because the batch is short, the next earlier item
    of another clip is the partner.
    """
    if len(set(clip_ids)) < 2:
        return None
    B = len(clip_ids)
    before_BB = [[(b - step) % B for step in range(repeats, repeats + B)] for b in range(B)]
    return torch.tensor(
        [next(other for other in before_B if clip_ids[other] != clip_ids[b]) for b, before_B in enumerate(before_BB)]
    )
