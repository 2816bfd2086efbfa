"""Frames of clips for training and evaluation: read from memory-mapped shards, decoded when asked for.

B clips, T frames, C channels (RGB), H, W pixels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from kinetext import tables
from kinetext.data.frames import decode_images, frames_digest


class FrameStore:
    """The frames of every clip of some shards. May be pickled: each process maps the shards for itself."""

    def __init__(self, shards: Sequence[Path]) -> None:
        """Raises ValueError if a shard is not whole or if a clip stands in it twice."""
        self.shards = [Path(shard) for shard in shards]
        self._images: dict[int, Any] = {}
        self._place: dict[str, tuple[int, int]] = {}
        self._status: dict[str, tuple[str, str | None]] = {}
        for number, path in enumerate(self.shards):
            table = tables.open_shard("frames", path)
            columns = (table[name].to_pylist() for name in ("clip_id", "status", "error"))
            for row, (clip_id, status, error) in enumerate(zip(*columns, strict=True)):
                if clip_id in self._place:
                    raise ValueError(f"{path}: clip {clip_id} stands in two rows of the shards; extract them again")
                self._place[clip_id] = number, row
                self._status[clip_id] = status, error

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_images": {}}

    def __contains__(self, clip_id: str) -> bool:
        """Whether there are frames of this clip."""
        return clip_id in self._status and self._status[clip_id][0] != "failed"

    def status(self, clip_id: str) -> str:
        """The clip's status: ok, short, truncated, damaged or failed. Raises ValueError if there is no such clip."""
        return self._known(clip_id)[0]

    def frames(self, clip_id: str) -> torch.Tensor:
        """The frames of a clip, uint8 [T, C, H, W], channels last in memory. Raises ValueError if there are none."""
        status, error = self._known(clip_id)
        if status == "failed":
            raise ValueError(f"clip {clip_id} has no frames ({error}); leave it out: `clip_id in store` tells")
        number, row = self._place[clip_id]
        if number not in self._images:
            self._images[number] = tables.open_shard("frames", self.shards[number])["images"]
        images = self._images[number][row].values
        frames_THWC = decode_images([memoryview(image.as_buffer()).cast("B") for image in images])
        return torch.from_numpy(frames_THWC).permute(0, 3, 1, 2)

    def digest(self) -> str:
        """A hash of all clips' frames."""
        return frames_digest(self.shards)

    def batch(self, clip_ids: Sequence[str]) -> torch.Tensor:
        """The frames of several clips, uint8 [B, T, C, H, W]."""
        return torch.stack([self.frames(clip_id) for clip_id in clip_ids])

    def _known(self, clip_id: str) -> tuple[str, str | None]:
        if clip_id not in self._status:
            raise ValueError(f"clip {clip_id} is in none of the {len(self.shards)} shards; extract the frames again")
        return self._status[clip_id]


class ClipDataset(Dataset):
    """Clips with their targets, for a DataLoader: item -> (frames uint8 [T, C, H, W], target).

    With augment="crop" each clip is cut to a random part, the same for all its frames, and resized back. What an item
    is depends on (seed, epoch, index) alone, so a resumed training sees what it would have seen. Call `set_epoch`
    before each epoch's iterator is made; workers that live on between epochs do not hear of it.
    """

    def __init__(
        self,
        store: FrameStore,
        clip_ids: Sequence[str],
        targets: Sequence[int],
        augment: str = "none",
        seed: int = 0,
        scale: tuple[float, float] = (0.6, 1.0),  # share of the area that is kept
    ) -> None:
        if len(clip_ids) != len(targets):
            raise ValueError(f"{len(clip_ids)} clips and {len(targets)} targets; give each clip one")
        if augment not in ("none", "crop"):
            raise ValueError(f"augment: no '{augment}'; known: none, crop")
        self.store, self.clip_ids, self.targets = store, list(clip_ids), list(targets)
        self.augment, self.seed, self.scale, self.epoch = augment, seed, scale, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose random parts the items have."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        frames_TCHW = self.store.frames(self.clip_ids[index])
        if self.augment == "crop":
            from torchvision.transforms import InterpolationMode, v2  # half a second, only where it is used

            crop = v2.RandomResizedCrop(
                list(frames_TCHW.shape[-2:]), scale=self.scale, interpolation=InterpolationMode.BICUBIC, antialias=True
            )
            item_seed = np.random.SeedSequence([self.seed, self.epoch, index]).generate_state(1)[0]
            with torch.random.fork_rng(devices=[]):  # the transform draws from the global generator: give it back
                torch.manual_seed(int(item_seed))
                frames_TCHW = crop(frames_TCHW)
        return frames_TCHW, self.targets[index]
