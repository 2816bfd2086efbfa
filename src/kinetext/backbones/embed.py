"""prepare_backbone, embed_frames, embed_labels: save the weights, then compute CLIP features of frames and class names.

T frames, K classes, D joint width.
"""

from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from kinetext.backbones.base import Backbone
from kinetext.backbones.checkpoint import load_backbone, save_backbone
from kinetext.config.backbone import BackboneOptions
from kinetext.core import plugins
from kinetext.core.files import atomic_write
from kinetext.core.tables import open_shard, read_metadata, write_shard
from kinetext.data.store import FrameStore

BATCH_CLIPS = 32


def prepare_backbone(options: BackboneOptions, folder: Path, seed: int = 0) -> None:
    """Build the backbone (see `make_backbone`) and write it to `folder`."""
    save_backbone(make_backbone(options, seed), folder, {"weights": options.source}, options.module)


def make_backbone(options: BackboneOptions, seed: int = 0) -> Backbone:
    """Return an image-text model with weights that are shipped, trained, downloaded, or read from a local file.

    Raises ValueError if the model or the tag is unknown, or if the weights do not fit.
    """
    family = plugins.load("backbones", options.family)
    backbone: Backbone = family.prepare(plugins.configure(family, options.settings), seed)
    return backbone


def embed_frames(backbone_folder: Path, shard: Path, output: Path, threads: int = 1) -> None:
    """Write the frame features [T, D] (float16) of every clip in a frame shard. Clips without frames are left out.

    A video encoder gives [T', D], for as many evenly spaced frames as it takes.
    """
    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    backbone = load_backbone(backbone_folder).to(device)
    store = FrameStore([shard])
    clip_ids = [clip_id for clip_id in open_shard("frames", shard)["clip_id"].to_pylist() if clip_id in store]

    def batches():
        for start in tqdm(range(0, len(clip_ids), BATCH_CLIPS), desc=f"embed {shard.stem}", disable=None):
            batch = clip_ids[start : start + BATCH_CLIPS]
            with torch.inference_mode():
                frames_BTCHW = store.batch(batch)
                frames_BTCHW = frames_BTCHW[:, frames_taken(backbone, frames_BTCHW.shape[1])]
                frames_BTD = backbone.encode_frames(frames_BTCHW.to(device))
            features = frames_BTD.half().cpu().numpy()
            yield [{"clip_id": c, "frame_TD": list(f)} for c, f in zip(batch, features, strict=True)]

    write_shard("features", batches(), output)


def frames_taken(backbone: Backbone, stored: int) -> list[int]:
    """Return the indices of the frames that the backbone embeds: all, or evenly spaced ones for a video encoder.

    If an encoder takes more frames than are stored, some are repeated.
    """
    T = backbone.num_frames or max(backbone.frames_per_step, stored - stored % backbone.frames_per_step)
    return [int((t + 0.5) * stored / T) for t in range(T)]


def embed_labels(backbone_folder: Path, clips: Path, output: Path) -> None:
    """Write the features of the class names to an .npz file with `labels` [K] and `text_KD` [K, D].

    The arrays are empty if the clips have captions or if the backbone has no text encoder.
    """
    labels = read_metadata(clips)["labels"]
    text_KD = torch.zeros(0, 0)
    backbone = load_backbone(backbone_folder) if labels else None
    if backbone is not None and backbone.has_text:
        with torch.inference_mode():
            text_KD, _ = backbone.encode_text(backbone.tokenize(labels))
    else:
        labels = []
    with atomic_write(output) as part, part.open("wb") as file:
        np.savez(file, labels=np.array(labels, str), text_KD=text_KD.numpy())
