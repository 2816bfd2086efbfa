"""Frames on their way to the device: read ahead by workers, as bytes all the way; floats come into being on the device.

Either workers decode the JPEGs, or they hand them over and the device decodes: a GPU through nvJPEG, whose pixels differ by
rounding (its inverse transform is another; on the CPU both are libjpeg-turbo, to the bit).

B clips, T frames, H, W pixels, C channels (RGB), P bytes.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from kinetext.data.frames import decode_image
from kinetext.data.loader import ClipDataset

log = logging.getLogger(__name__)
# workers that decode less than nvJPEG does: 512 frames of 224 px take it 34 ms on an H200 (docs/training.md), and one CPU
# core about 0.2 ms a frame (reference/video.md 3)
FEW = 4
JPEG = b"\xff\xd8\xff"


class Encoded(NamedTuple):
    """The images of some clips as they are stored, one after the other."""

    bytes_P: Tensor
    lengths: list[int]


class Feed:
    """The frames of a data set's clips in any order, epoch after epoch; its workers live on from one to the next."""

    def __init__(self, clips: ClipDataset, device: torch.device, workers: int = 0, decode: str = "auto") -> None:
        """`decode` is where JPEGs are: `workers`, `device`, or `auto`, a GPU that can if there are few workers for it."""
        self.clips, self.device = clips, device
        self.on_device = decode == "device" or (
            decode == "auto" and workers < FEW and len(clips) > 0 and _gpu_decodes(clips, device)
        )
        self._order: list[list[tuple[int | None, int]]] = []
        self._loader = DataLoader(
            _Items(clips, self.on_device),
            batch_sampler=self._order,
            num_workers=workers,
            collate_fn=_put_together if self.on_device else default_collate,
            pin_memory=device.type == "cuda",
            persistent_workers=workers > 0,
            generator=torch.Generator(),  # its own: it would draw from the one that training draws from
        )

    def batches(self, order: Sequence[Sequence[int]], epoch: int | None = None) -> Iterator[Tensor | Encoded]:
        """The clips of these places, batch by batch, still on the CPU: uint8 [B, T, H, W, C], or encoded."""
        self._order[:] = [[(epoch, place) for place in batch] for batch in order]
        return iter(self._loader)

    def send(self, batch: Tensor | Encoded, places: Sequence[int], epoch: int | None = None) -> Tensor:
        """A batch on the device, uint8 [B, T, C, H, W] and channels last in memory, without waiting for it."""
        if isinstance(batch, Tensor):
            return batch.to(self.device, non_blocking=True).permute(0, 1, 4, 2, 3)
        images, T = decode_on(self.device, batch), len(batch.lengths) // len(places)
        self.clips.set_epoch(epoch)
        clips = ((torch.stack(images[T * b : T * (b + 1)]), place) for b, place in enumerate(places))
        return torch.stack([self.clips.augmented(f_THWC.permute(0, 3, 1, 2), place) for f_THWC, place in clips])


class _Items(Dataset):
    """(epoch, place) -> the clip's frames [T, H, W, C], augmented, or its encoded images. The epoch comes with the place,
    for workers that live on do not hear of `set_epoch`.
    """

    def __init__(self, clips: ClipDataset, encoded: bool) -> None:
        self.clips, self.encoded = clips, encoded

    def __getitem__(self, item: tuple[int | None, int]) -> Tensor | Encoded:
        epoch, place = item
        self.clips.set_epoch(epoch)
        if self.encoded:
            images = self.clips.images(place)
            joined = np.concatenate([np.frombuffer(image, np.uint8) for image in images])
            return Encoded(torch.from_numpy(joined), [len(image) for image in images])
        return self.clips[place][0].permute(0, 2, 3, 1).contiguous()


def _put_together(clips: list[Encoded]) -> Encoded:
    return Encoded(torch.cat([clip.bytes_P for clip in clips]), [n for clip in clips for n in clip.lengths])


def decode_on(device: torch.device, encoded: Encoded) -> list[Tensor]:
    """Images decoded there: each uint8 [H, W, C]."""
    from torchvision.io import ImageReadMode, decode_jpeg

    images = encoded.bytes_P.split(encoded.lengths)
    if bytes(images[0][:3].numpy()) != JPEG:
        pixels = np.stack([decode_image(image.numpy().tobytes()) for image in images])  # raw: all squares of one size
        return list(torch.from_numpy(pixels).to(device, non_blocking=True))
    decoded = decode_jpeg(list(images), ImageReadMode.RGB, device)
    return [image_CHW.permute(1, 2, 0) for image_CHW in decoded]


def _gpu_decodes(clips: ClipDataset, device: torch.device) -> bool:
    """Whether the device is a GPU, torchvision can decode there, and there is something to decode."""
    image = clips.store.images(clips.clip_ids[0])[0]
    if device.type != "cuda" or image[:3] != JPEG:
        return False
    try:
        decode_on(device, Encoded(torch.frombuffer(bytearray(image), dtype=torch.uint8), [len(image)]))
    except RuntimeError as error:
        log.info("JPEGs are decoded by workers: torchvision cannot on this GPU (%s)", str(error).splitlines()[0])
        return False
    return True
