"""Fit a method to the frame features of its training clips, in one go instead of by the training loop.

Every clip goes through the image encoder once, without augmentation. The features of all clips are in memory, up to
`training.cache_gib`. A killed fit starts again: its cost is that one pass and the seconds of the head.

B, N clips, T frames, D width of the joint space.
"""

import time
from typing import Any

import torch
from torch import Tensor

from kinetext.core import distributed
from kinetext.methods.base import LossInputs
from kinetext.training.batches import Batches
from kinetext.training.objectives import Recognition, read_tokens, total
from kinetext.training.setup import Prepared
from kinetext.training.state import Progress

SCORED_AT_ONCE = 256  # clips


def fit_method(prepared: Prepared) -> Progress:
    """Fit a method to the frame features of the training clips; return a progress whose curves have one epoch.

    With `training.select: best_val` the method also gets the validation clips, to choose options by them.
    """
    objective, started_s = prepared.objective, time.perf_counter()
    assert isinstance(objective, Recognition)
    train = _features_of(prepared, prepared.train_clips)
    val = _features_of(prepared, prepared.val_clips) if len(prepared.val_clips) else None
    with torch.no_grad():
        text = objective.text()
    prepared.method.fit(*train, text, val if prepared.spec.training.select == "best_val" else None)
    values = {"train_top1": _scores_of(prepared, *train, text)["top1"]}
    if val is not None:
        values |= {f"val_{name}": value for name, value in _scores_of(prepared, *val, text).items()}
        values["val_chance"] = objective.chance
    progress = Progress(seconds=prepared.seconds + time.perf_counter() - started_s)
    progress.end_epoch(values)
    return progress


def _features_of(prepared: Prepared, clips: Batches) -> tuple[Tensor, Tensor]:
    """Return the frame features and the classes of all clips, on the CPU.

    Raises ValueError if they need more memory than `cache_gib`.
    """
    method, training, parts = prepared.method, prepared.spec.training, []
    for batch in clips.epoch(None):
        with torch.inference_mode():
            frames_BTD = method.frame_features(read_tokens(method, training, batch))
        parts.append((frames_BTD.cpu(), batch.text_N))
        gib = frames_BTD[0].nbytes * len(clips.clip_ids) / 2**30 * distributed.local_world_size()
        if gib > training.cache_gib:
            raise ValueError(
                f"{prepared.spec.run}: the features of {len(clips.clip_ids)} clips need {gib:.2g} GiB, and "
                f"training.cache_gib is {training.cache_gib:g}; raise it, or take fewer frames or features of frames"
            )
    frames, targets = zip(*distributed.gather(parts), strict=True)
    return torch.cat(frames), torch.cat(targets)


@torch.inference_mode()
def _scores_of(prepared: Prepared, frames_NTD: Tensor, target_N: Tensor, text: Any) -> dict[str, float]:
    """Return `loss`, the mean loss of clips, and `top1`, their top-1 accuracy (0 to 1), from their frame features."""
    method, objective, device = prepared.method, prepared.objective, prepared.train_clips.device
    assert isinstance(objective, Recognition)
    loss = correct = 0.0
    for frames_BTD, target_B in zip(
        frames_NTD.split(SCORED_AT_ONCE), target_N.to(device).split(SCORED_AT_ONCE), strict=True
    ):
        video = method.encode_frames(frames_BTD.to(device))
        losses = method.losses(LossInputs(video, text, target_B, objective.rivals_KK))
        loss += total(losses).item() * len(target_B)
        correct += (method.score(video, text).argmax(-1) == target_B).sum().item()
    return {"loss": loss / len(target_N), "top1": correct / len(target_N)}
