"""Load stored frames as batches on the device: ClipDataset reads one clip, ClipLoader batches clips in any order.

Frames stay bytes until they are on the device and become floats there. JPEGs are decoded either by the workers of the
loader or by the device. A GPU decodes with nvJPEG, whose pixels differ by rounding because its inverse transform is
another one. On the CPU both ways use libjpeg-turbo and give identical pixels.

B clips, T frames, H, W pixels, C channels (RGB), P bytes.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from kinetext.config.augment import AugmentOptions
from kinetext.data.augment import augment_clip, crop_square
from kinetext.data.images import decode_image
from kinetext.data.store import FrameStore, decode_stored
from kinetext.video.sampling import Choice

log = logging.getLogger(__name__)
# with fewer workers nvJPEG is faster: 34 ms for 512 frames of 224 px on an H200; a CPU core takes about 0.2 ms a frame
MIN_DECODING_WORKERS = 4
JPEG_START = b"\xff\xd8\xff"

Key = tuple[int, int | None]  # index of an item, epoch


class Encoded(NamedTuple):
    """The encoded images of one or several clips, concatenated, and the length of each image in bytes.

    The device decodes them.
    """

    bytes_P: Tensor
    lengths: list[int]


class ClipDataset(Dataset):
    """Stored clips as items: `dataset[index, epoch]` is uint8 [T, H, W, C], or an Encoded if the device decodes.

    The frames and the augmentation of an item depend only on (seed, epoch, index), so that a resumed training gets the
    same items. If the epoch is None (validation, tests), nothing is random. Index n + len(dataset) is clip n with other
    random draws.
    """

    def __init__(
        self,
        store: FrameStore,
        clip_ids: Sequence[str],
        augment: AugmentOptions = AugmentOptions(),  # noqa: B008  it is frozen
        seed: int = 0,
        flip: bool = False,
        choose: Choice | None = None,  # None: all stored frames
    ) -> None:
        self.store, self.clip_ids = store, list(clip_ids)
        self.augment, self.seed, self.flip, self.choose = augment, seed, flip, choose
        self.encoded = False  # whether items are the images as stored; the loader decides

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __getitem__(self, key: Key) -> Tensor | Encoded:
        if self.encoded:
            images = self.images(key)
            joined = np.concatenate([np.frombuffer(image, np.uint8) for image in images])
            return Encoded(torch.from_numpy(joined), [len(image) for image in images])
        return self.transform(decode_stored(self.images(key)), key).permute(0, 2, 3, 1).contiguous()

    def images(self, key: Key) -> list[memoryview]:
        """Return the encoded frames of an item."""
        images = self.store.images(self.clip_ids[key[0] % len(self)])
        return [images[i] for i in self.choose(len(images), self._draw(key))] if self.choose else images

    def transform(self, frames_TCHW: Tensor, key: Key) -> Tensor:
        """Augment the decoded frames of an item, uint8 [T, C, H, W], on the device where they are.

        Without augmentation, return the centre square.
        """
        draw = self._draw(key)
        if draw is None or not self.augment.enabled:
            return crop_square(frames_TCHW)
        return augment_clip(frames_TCHW, self.augment, self.flip, draw)

    def _draw(self, key: Key) -> tuple[int, ...] | None:
        """Return (seed, epoch, index), which determine the random draws of an item; None if nothing is random."""
        index, epoch = key
        return None if epoch is None else (self.seed, epoch, index)


class ClipLoader:
    """Load batches of the clips of a dataset on the device, in any order. Worker processes persist between epochs."""

    def __init__(self, dataset: ClipDataset, device: torch.device, workers: int = 0, decode: str = "auto") -> None:
        """Choose where JPEGs are decoded: `decode` is `workers`, `device` or `auto`.

        With `auto`, a GPU decodes them if it can and if there are fewer than MIN_DECODING_WORKERS workers.
        """
        self.dataset, self.device = dataset, device
        self.on_device = decode == "device" or (
            decode == "auto" and workers < MIN_DECODING_WORKERS and len(dataset) > 0 and _gpu_decodes(dataset, device)
        )
        dataset.encoded = self.on_device
        self._keys: list[list[Key]] = []  # the batches of the running epoch
        self._loader = DataLoader(
            dataset,
            batch_sampler=self._keys,
            num_workers=workers,
            collate_fn=collate,
            pin_memory=device.type == "cuda",
            persistent_workers=workers > 0,
            generator=torch.Generator(),  # or it would draw from the global generator, which training uses
        )

    def batches(self, order: Sequence[Sequence[int]], epoch: int | None = None) -> Iterator[Tensor]:
        """Yield a batch for each list of indices: uint8 [B, T, C, H, W] on the device, channels last in memory.

        The copy to the device is asynchronous. `epoch` is one of the numbers that determine random draws; if it is
        None, nothing is random.
        """
        self._keys[:] = [[(index, epoch) for index in indices] for indices in order]
        for keys, batch in zip(list(self._keys), self._loader, strict=True):
            if isinstance(batch, Tensor):
                yield batch.to(self.device, non_blocking=True).permute(0, 1, 4, 2, 3)
            else:
                yield self._decode(batch, keys)

    def _decode(self, batch: Encoded, keys: list[Key]) -> Tensor:
        images, T = decode_on(self.device, batch), len(batch.lengths) // len(keys)
        clips = (torch.stack(images[T * b : T * (b + 1)]).permute(0, 3, 1, 2) for b in range(len(keys)))
        return torch.stack([self.dataset.transform(*pair) for pair in zip(clips, keys, strict=True)])


def collate(clips: list[Tensor | Encoded]) -> Tensor | Encoded:
    """Stack the clips of a batch. If they are encoded, concatenate their images to one Encoded instead."""
    encoded = [clip for clip in clips if isinstance(clip, Encoded)]
    if not encoded:
        return default_collate(clips)
    return Encoded(torch.cat([clip.bytes_P for clip in encoded]), [n for clip in encoded for n in clip.lengths])


def decode_on(device: torch.device, encoded: Encoded) -> list[Tensor]:
    """Decode images on the device. Return one tensor, uint8 [H, W, C], for each."""
    from torchvision.io import ImageReadMode, decode_jpeg

    images = encoded.bytes_P.split(encoded.lengths)
    if bytes(images[0][:3].numpy()) != JPEG_START:
        pixels = np.stack([decode_image(image.numpy().tobytes()) for image in images])  # raw: squares of one size
        return list(torch.from_numpy(pixels).to(device, non_blocking=True))
    decoded = decode_jpeg(list(images), ImageReadMode.RGB, device)
    return [image_CHW.permute(1, 2, 0) for image_CHW in decoded]


def _gpu_decodes(dataset: ClipDataset, device: torch.device) -> bool:
    """Return whether the stored images are JPEGs and the device is a GPU on which torchvision can decode them."""
    image = dataset.store.images(dataset.clip_ids[0])[0]
    if device.type != "cuda" or image[:3] != JPEG_START:
        return False
    try:
        decode_on(device, Encoded(torch.frombuffer(bytearray(image), dtype=torch.uint8), [len(image)]))
    except RuntimeError as error:
        log.info("workers decode JPEGs: torchvision cannot decode on this GPU (%s)", str(error).splitlines()[0])
        return False
    return True
