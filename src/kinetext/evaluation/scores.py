"""Scores of clips by a trained method: loading the method, frame orders of the motion probes, and averages over views.

B clips, T frames, K classes or captions, V views, N = B * V views of clips.
"""

import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kinetext.backbones.checkpoint import load_backbone
from kinetext.config.run import RunSpec
from kinetext.methods.base import Method, build_method
from kinetext.methods.checkpoint import load_trained


def load_method(
    spec: RunSpec, backbone_folder: Path, checkpoint: Path | None, device: torch.device, multi_label: bool = False
) -> Method:
    """Load the method of a run for testing, with the parameters of the checkpoint if there is one.

    `multi_label` states whether clips have several labels each. Raises ValueError if the frames of the run were not
    resized as the backbone needs it.
    """
    backbone = load_backbone(backbone_folder)
    backbone.require_frames(spec.frame_options.resize_mode, spec.frame_options.interpolation)
    method = build_method(backbone, spec.method_module, spec.method_options)
    if checkpoint is not None:
        if spec.training.temperature is not None:
            method.backbone.set_temperature(spec.training.temperature)
        if method.needs_threshold(spec.training.loss, multi_label):
            method.add_label_threshold()
        load_trained(method, checkpoint)
    return method.to(device).eval().requires_grad_(False)


def frame_indices(frame_order: str, num_frames: int, clip_id: str) -> Tensor:
    """Return the frame indices [T] of a frame order, one of FRAME_ORDERS. The shuffle depends only on clip_id and T."""
    indices = torch.arange(num_frames)
    if frame_order == "reversed":
        return indices.flip(0)
    if frame_order == "shuffled":
        generator = torch.Generator().manual_seed(zlib.crc32(clip_id.encode()))
        return torch.randperm(num_frames, generator=generator)
    if frame_order == "repeated":
        return torch.full_like(indices, num_frames // 2)
    return indices


def score_clips(method: Method, video: Any, text: list[Any], views: int, average: str = "logits") -> np.ndarray:
    """Return the scores [B, K] of `video` (B * V views) for the encoded texts, averaged over the V views of each clip.

    `text` has the texts in chunks. The scores are log-odds if the method was trained on several labels per clip.
    """
    return average_views(score_views(method, video, text), views, average).cpu().numpy()


def score_views(method: Method, video: Any, text: list[Any]) -> Tensor:
    """Return the scores [N, K] of `video` (N views) for the encoded texts, which are in chunks."""
    return torch.cat([method.label_logits(method.score(video, part)) for part in text], 1).float()


def average_views(scores_NK: Tensor, views: int, average: str) -> Tensor:
    """Average the scores [B * V, K] over the views of each clip, which are consecutive; return [B, K].

    `logits` averages logits; `probabilities` returns the logarithm of the mean softmax.
    """
    if views == 1:
        return scores_NK
    if average == "logits":
        return scores_NK.unflatten(0, (-1, views)).mean(1)
    return scores_NK.log_softmax(1).unflatten(0, (-1, views)).logsumexp(1) - math.log(views)
