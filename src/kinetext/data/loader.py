"""Frames of clips for training and evaluation: read from memory-mapped shards, decoded when asked for.

B clips, T frames, C channels (RGB), H, W pixels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from kinetext.config.run import RunSpec
from kinetext.config.training import AugmentOptions
from kinetext.core import tables
from kinetext.data.augment import augmented, square
from kinetext.data.frames import decode_images, frames_digest
from kinetext.video.sampling import Choice, view_indices


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
        """The frames of a clip, uint8 [T, C, H, W], channels last in memory; of whole frames the centre. Raises ValueError
        if there are none.
        """
        return square(decoded(self.images(clip_id)))

    def images(self, clip_id: str) -> list[memoryview]:
        """The frames of a clip as they are stored, encoded, not copied. Raises ValueError if there are none."""
        status, error = self._known(clip_id)
        if status == "failed":
            raise ValueError(f"clip {clip_id} has no frames ({error}); leave it out: `clip_id in store` tells")
        number, row = self._place[clip_id]
        if number not in self._images:
            self._images[number] = tables.open_shard("frames", self.shards[number])["images"]
        return [memoryview(image.as_buffer()).cast("B") for image in self._images[number][row].values]

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


def decoded(images: Sequence[bytes | memoryview]) -> torch.Tensor:
    """Stored images of one clip, uint8 [T, C, H, W], channels last in memory."""
    return torch.from_numpy(decode_images(images)).permute(0, 3, 1, 2)


class ClipDataset(Dataset):
    """Clips with their targets, for a DataLoader: item -> (frames uint8 [T, C, H, W], target).

    Which of the stored frames an item has and how they are augmented depends on (seed, epoch, index) alone, so a resumed
    training sees what it would have seen. Without an epoch (None: validation, tests) nothing is drawn. Index n + clips is
    clip n once more, with draws of its own. Call `set_epoch` before each epoch's iterator is made; workers that live on
    between epochs do not hear of it.
    """

    def __init__(
        self,
        store: FrameStore,
        clip_ids: Sequence[str],
        targets: Sequence[int],
        augment: AugmentOptions = AugmentOptions(),  # noqa: B008  it is frozen
        seed: int = 0,
        flip: bool = False,
        choose: Choice | None = None,  # None: all stored frames
    ) -> None:
        if len(clip_ids) != len(targets):
            raise ValueError(f"{len(clip_ids)} clips and {len(targets)} targets; give each clip one")
        self.store, self.clip_ids, self.targets = store, list(clip_ids), list(targets)
        self.augment, self.seed, self.flip, self.choose = augment, seed, flip, choose
        self.epoch: int | None = 0

    def set_epoch(self, epoch: int | None) -> None:
        """Choose the epoch whose random parts the items have."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.augmented(decoded(self.images(index)), index), self.targets[index % len(self)]

    def images(self, index: int) -> list[memoryview]:
        """The frames of an item as they are stored, encoded."""
        images = self.store.images(self.clip_ids[index % len(self)])
        return [images[i] for i in self.choose(len(images), self._place(index))] if self.choose else images

    def augmented(self, frames_TCHW: torch.Tensor, index: int) -> torch.Tensor:
        """What augmentation makes of an item's frames, on whichever device they are."""
        place = self._place(index)
        if place is None or not self.augment.changes:
            return square(frames_TCHW)
        return augmented(frames_TCHW, self.augment, self.flip, place)

    def _place(self, index: int) -> tuple[int, ...] | None:
        return None if self.epoch is None else (self.seed, self.epoch, index)


class ClipViews(ClipDataset):
    """Clips as they are tested: an item's frames are those of all its views, uint8 [V x T, C, H, W], the crops of each
    choice of frames side by side.
    """

    def __init__(self, store: FrameStore, clip_ids: Sequence[str], spec: RunSpec) -> None:
        super().__init__(store, clip_ids, [0] * len(clip_ids))
        self.spec = spec

    def images(self, index: int) -> list[memoryview]:
        """The stored frames that some view has, once each."""
        images = self.store.images(self.clip_ids[index])
        return [images[i] for i in sorted(set(tested_frames(self.spec, len(images))))]

    def augmented(self, frames_TCHW: torch.Tensor, index: int) -> torch.Tensor:
        """The views of an item, of whose frames each is there once."""
        return cut_views(frames_TCHW, self.spec, len(self.store.images(self.clip_ids[index])))


def tested_frames(spec: RunSpec, stored: int) -> list[int]:
    """Which of a clip's stored frames the views of a run's test have, view after view."""
    clips, training = spec.testing.clips, spec.training
    T = spec.num_frames or stored
    return [
        i for view in range(clips) for i in view_indices(training.sampling, stored, T, training.stride, view, clips)
    ]


def cut_views(frames_TCHW: torch.Tensor, spec: RunSpec, stored: int) -> torch.Tensor:
    """The views of a clip, uint8 [V x T, C, H, W], from the frames that `tested_frames` names, once each and in order."""
    chosen, places = tested_frames(spec, stored), {1: [0.5], 3: [0.0, 0.5, 1.0]}[spec.testing.crops]
    number = {i: n for n, i in enumerate(sorted(set(chosen)))}
    views = frames_TCHW[[number[i] for i in chosen]].chunk(spec.testing.clips)
    return torch.cat([square(view_TCHW, at) for view_TCHW in views for at in places])
