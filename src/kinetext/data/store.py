"""Read the stored frames of clips from memory-mapped shards and decode them on demand.

B clips, T frames, C channels (RGB), H, W pixels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kinetext.core import tables
from kinetext.data.augment import crop_square
from kinetext.data.images import decode_images, frames_digest


class FrameStore:
    """The stored frames of all clips in some shards. It can be pickled: each process maps the shards itself."""

    def __init__(self, shards: Sequence[Path]) -> None:
        """Open the shards. Raises ValueError if a shard is incomplete or if a clip has two rows."""
        self.shards = [Path(shard) for shard in shards]
        self._images: dict[int, Any] = {}  # columns of the shards opened so far
        self._row_of: dict[str, tuple[int, int]] = {}  # clip_id -> shard, row
        self._status: dict[str, tuple[str, str | None]] = {}
        for number, path in enumerate(self.shards):
            table = tables.open_shard("frames", path)
            columns = (table[name].to_pylist() for name in ("clip_id", "status", "error"))
            for row, (clip_id, status, error) in enumerate(zip(*columns, strict=True)):
                if clip_id in self._row_of:
                    raise ValueError(f"{path}: duplicate clip_id '{clip_id}' in the shards; extract the frames again")
                self._row_of[clip_id] = number, row
                self._status[clip_id] = status, error

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_images": {}}

    def __contains__(self, clip_id: str) -> bool:
        """Return whether the clip has frames."""
        return clip_id in self._status and self._status[clip_id][0] != "failed"

    def status(self, clip_id: str) -> str:
        """Return the status of a clip: ok, short, truncated, damaged or failed. Raises ValueError if it is unknown."""
        return self._known(clip_id)[0]

    def frames(self, clip_id: str) -> Tensor:
        """Return the frames of a clip, uint8 [T, C, H, W], channels last in memory.

        Frames that are not square are cropped to the centre square. Raises ValueError if the clip has no frames.
        """
        return crop_square(decode_stored(self.images(clip_id)))

    def images(self, clip_id: str) -> list[memoryview]:
        """Return the encoded frames of a clip without copying them. Raises ValueError if the clip has no frames."""
        status, error = self._known(clip_id)
        if status == "failed":
            raise ValueError(f"clip {clip_id} has no frames ({error}); leave it out, see `clip_id in store`")
        number, row = self._row_of[clip_id]
        if number not in self._images:
            self._images[number] = tables.open_shard("frames", self.shards[number])["images"]
        return [memoryview(image.as_buffer()).cast("B") for image in self._images[number][row].values]

    def digest(self) -> str:
        """Return a hash of the clip_ids and frames of all clips."""
        return frames_digest(self.shards)

    def batch(self, clip_ids: Sequence[str]) -> Tensor:
        """Return the frames of several clips, uint8 [B, T, C, H, W]. Raises ValueError if a clip has no frames."""
        return torch.stack([self.frames(clip_id) for clip_id in clip_ids])

    def _known(self, clip_id: str) -> tuple[str, str | None]:
        if clip_id not in self._status:
            raise ValueError(f"clip {clip_id} is in none of the {len(self.shards)} shards; extract the frames again")
        return self._status[clip_id]


def decode_stored(images: Sequence[bytes | memoryview]) -> Tensor:
    """Decode the stored images of one clip to uint8 [T, C, H, W], channels last in memory."""
    return torch.from_numpy(decode_images(images)).permute(0, 3, 1, 2)
