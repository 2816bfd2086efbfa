"""extract_frames: write the frames of one shard's clips to an Arrow file of small images, one row per clip.

decode.py raises no error for a bad video, but a decoder that hangs or crashes cannot be caught. Clips are therefore
decoded in worker processes with a time limit per clip. If a worker exceeds the limit or dies, only that clip is lost.

Finished shards are linked into a cache. If a shard is written again because clips were added, only the added clips are
decoded.
"""

import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from tqdm import tqdm

from kinetext.config.data import FrameOptions
from kinetext.core import tables
from kinetext.core.files import atomic_write
from kinetext.data.images import content_hash, encode_image
from kinetext.data.lists import file_state
from kinetext.video.decode import decode_clip
from kinetext.video.pool import NoResult, map_with_timeout
from kinetext.video.sampling import sampler

BATCH_CLIPS, BATCH_BYTES = 100, 2**29  # an Arrow binary column has at most 2 GiB


def resize(
    frames_THWC: np.ndarray,
    size_px: int,
    crop: str = "centre",
    mode: str = "shortest",
    interpolation: str = "bicubic",
) -> np.ndarray:
    """Resize uint8 images [T, H, W, 3] as open_clip does, with antialiasing.

    With the mode `shortest` the short side is resized to `size_px`, then the centre is cropped; with `crop` `whole`
    there is no crop. With `squash` both sides are resized to `size_px`. The result equals that of PIL except for
    rounding (mean difference 0.004 grey levels, at most 2), and is computed several times faster.
    """
    import torch  # here, so that the process that only supervises workers starts fast

    height, width = frames_THWC.shape[1:3]
    short = min(height, width)
    squashed = mode == "squash"
    scaled = (size_px, size_px) if squashed else (int(size_px * height / short), int(size_px * width / short))
    if (squashed and scaled != (height, width)) or (not squashed and short != size_px):
        frames_TCHW = torch.from_numpy(frames_THWC).permute(0, 3, 1, 2)  # channels last, which is faster
        frames_TCHW = torch.nn.functional.interpolate(frames_TCHW, size=scaled, mode=interpolation, antialias=True)
        frames_THWC = frames_TCHW.permute(0, 2, 3, 1).numpy()
        height, width = scaled
    if crop == "whole":
        return np.ascontiguousarray(frames_THWC)
    top, left = round((height - size_px) / 2), round((width - size_px) / 2)  # as torchvision's CenterCrop
    return np.ascontiguousarray(frames_THWC[:, top : top + size_px, left : left + size_px])


def extract_clip(clip: dict[str, Any], options: FrameOptions) -> dict[str, Any]:
    """Return a row of the table `frames`, without `source`, from a row of the table `clips`.

    Never raises: a clip that cannot be read gives a row with the status failed and the error.
    """
    if clip["error"]:
        return _failed(clip, clip["error"])
    decoded = decode_clip(
        Path(clip["path"]),
        sampler(options),
        clip["start_s"],
        clip["end_s"],
        partial(
            resize,
            size_px=options.size_px,
            crop=options.crop,
            mode=options.resize_mode,
            interpolation=options.interpolation,
        ),
        options.max_px,
        options.max_duration_s,
        options.aspect,
    )
    encoded: dict[int, bytes] = {}  # short clips repeat frames
    for index, frame_HWC in zip(decoded.frame_indices, decoded.frames_HWC, strict=True):
        if index not in encoded:
            encoded[index] = encode_image(frame_HWC, options.encoding, options.quality, options.chroma)
    images = [encoded[index] for index in decoded.frame_indices]
    row = {name: value for name, value in vars(decoded).items() if name != "frames_HWC"}
    return {"clip_id": clip["clip_id"], **row, "images": images, "content_hash": content_hash(images)}


def source(clip: dict[str, Any], options: FrameOptions) -> str:
    """Return a hash of everything that determines the frames of a clip."""
    settings = options.model_dump(mode="json")
    for name, default in (("crop", "centre"), ("resize_mode", "shortest"), ("interpolation", "bicubic")):
        if settings[name] == default:
            del settings[name]  # keeps the hashes from before this option existed
    inputs = [clip["path"], file_state(clip["path"]), clip["start_s"], clip["end_s"], clip["error"], settings]
    inputs += [clip["video_hash"]] if clip.get("video_hash") else []
    return hashlib.blake2b(json.dumps(inputs).encode(), digest_size=16).hexdigest()


def extract_frames(
    clips: Path, shard: str, options: FrameOptions, output: Path, threads: int = 1, cache: Path | None = None
) -> None:
    """Write the table `frames` of one shard: one row per clip in the order of `clips`, decoded by `threads` processes.

    `cache` is a folder with an earlier version of the shard. Its rows are kept for clips that have not changed. Raises
    ValueError if no clip belongs to the shard.
    """
    table = tables.read_table("clips", clips)
    rows = table.filter(pc.equal(table["shard"], shard)).to_pylist()
    if not rows:
        raise ValueError(f"{clips}: no clip belongs to shard '{shard}'; run index_clips again")
    earlier = _Earlier(cache / f"{shard}.arrow" if cache else None)
    keys = [source(row, options) for row in rows]
    changed = [row for row, key in zip(rows, keys, strict=True) if key not in earlier]
    statuses: Counter[str] = Counter()
    failed: list[str] = []

    def extracted() -> Iterator[dict[str, Any]]:
        results = map_with_timeout(
            partial(_work, extract_clip, options), changed, options.clip_limit_s, threads, preload=["torch", __name__]
        )
        new_rows = iter(tqdm(results, shard, len(changed), unit="clip", disable=None))
        for clip, key in zip(rows, keys, strict=True):
            result = earlier.row(key) if key in earlier else next(new_rows)
            if isinstance(result, NoResult):
                result = _failed(clip, result.reason)
            statuses[result["status"]] += 1
            if result["status"] == "failed":
                failed.append(f"{clip['clip_id']} ({result['error']})")
            yield result | {"clip_id": clip["clip_id"], "source": key}

    tables.write_shard("frames", _batches(extracted()), output)
    if cache:
        _link(output, cache / f"{shard}.arrow")
    counts = ", ".join(f"{count} {status}" for status, count in statuses.most_common())
    kept = f"; {len(rows) - len(changed)} kept from before" if len(changed) < len(rows) else ""
    first = f"; first failed: {failed[0]}" if failed else ""
    print(f"extract_frames {shard}: {len(rows)} clips: {counts}{kept}{first}", file=sys.stderr)


class _Earlier:
    """The rows of an earlier version of a shard, found by the hash that `source` returns.

    Failed clips, and clips whose images differ from their content hash, are not kept, so that they are extracted again.
    """

    def __init__(self, path: Path | None) -> None:
        self._index: dict[str, int] = {}
        if path is None or not path.exists():
            return
        try:
            self._table = tables.open_shard("frames", path)
            self._table.validate(full=True)  # reading rows of a broken file could crash the process
            columns = self._table.select(["source", "status", "content_hash"]).to_pylist()
        except (ValueError, KeyError):  # incomplete, or from an older version
            return
        self._index = {
            row["source"]: index
            for index, row in enumerate(columns)
            if row["status"] != "failed" and content_hash(self._table["images"][index].as_py()) == row["content_hash"]
        }

    def __contains__(self, key: str) -> bool:
        return key in self._index

    def row(self, key: str) -> dict[str, Any]:
        return self._table.slice(self._index[key], 1).to_pylist()[0]


def _failed(clip: dict[str, Any], reason: str) -> dict[str, Any]:
    empty: dict[str, Any] = {"frame_indices": [], "timestamps_s": [], "images": []}
    return {"clip_id": clip["clip_id"], "status": "failed", "error": reason, **empty}


def _link(output: Path, cached: Path) -> None:
    """Link the finished shard into the cache.

    Snakemake deletes an output before it writes it again, but it does not delete files of the cache.
    """
    try:
        with atomic_write(cached) as part:
            os.link(output, part)
    except OSError as error:  # the file system has no links
        print(
            f"extract_frames: {cached} cannot be linked ({error}); the next run decodes all clips again",
            file=sys.stderr,
        )


def _work(extract: Any, options: FrameOptions, clip: dict[str, Any]) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)  # one process per core
    return extract(clip, options)


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += sum(len(image) for image in row["images"])
        if len(batch) == BATCH_CLIPS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
