"""The stored form of frames: small images as JPEG or raw pixels, and the hashes of the images of clips and frame sets.

Reading stored frames needs neither FFmpeg nor worker processes; `frames.py`, which extracts them, needs both.

T frames, H x W pixels, C channels (RGB).
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import simplejpeg

from kinetext.core import tables


def encode_image(frame_HWC: np.ndarray, encoding: str, quality: int, chroma: str = "444") -> bytes:
    """Encode a uint8 RGB image [H, W, 3] as JPEG. With `encoding` `raw`, return the bytes of its pixels."""
    if encoding == "raw":
        return frame_HWC.tobytes()
    return simplejpeg.encode_jpeg(frame_HWC, quality, colorspace="RGB", colorsubsampling=chroma)


def decode_image(data: bytes | memoryview, out: np.ndarray | None = None) -> np.ndarray:
    """Decode the bytes that `encode_image` returned to an image, uint8 [H, W, 3].

    Raw bytes must be a square image and are not copied. With `out`, the image is written into that array, which is
    returned. Raises ValueError if the bytes are neither JPEG nor raw, or if the shape of the image is not that of
    `out`.
    """
    if data[:3] == b"\xff\xd8\xff" and data[-2:] == b"\xff\xd9":
        if out is None:
            return simplejpeg.decode_jpeg(data, "RGB")
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
        if (height, width, 3) != out.shape:  # a smaller one would leave the rest of `out` as it was
            raise ValueError(f"image of {width}x{height} px among others of {out.shape[1]}x{out.shape[0]}")
        return simplejpeg.decode_jpeg(data, "RGB", buffer=out)
    side = round((len(data) / 3) ** 0.5)
    if side == 0 or 3 * side * side != len(data):
        raise ValueError(f"image of {len(data)} bytes: neither JPEG nor a square of raw RGB; extract the frames again")
    image_HWC = np.frombuffer(data, np.uint8).reshape(side, side, 3)
    if out is None:
        return image_HWC
    if out.shape != image_HWC.shape:
        raise ValueError(f"image of {side}x{side} px among others of {out.shape[1]}x{out.shape[0]}")
    out[:] = image_HWC
    return out


def decode_images(images: Sequence[bytes | memoryview]) -> np.ndarray:
    """Decode the images of a clip to uint8 [T, H, W, 3]. Raises ValueError if they differ in size.

    Each image is decoded into the returned array, which saves a copy.
    """
    first_HWC = decode_image(images[0])
    frames_THWC = np.empty((len(images), *first_HWC.shape), np.uint8)
    frames_THWC[0] = first_HWC
    for image, frame_HWC in zip(images[1:], frames_THWC[1:], strict=True):
        decode_image(image, frame_HWC)
    return frames_THWC


def content_hash(images: Sequence[bytes]) -> str | None:
    """Return a hash of the encoded images of a clip; None if there are no images."""
    return hashlib.blake2b(b"".join(images), digest_size=16).hexdigest() if images else None


def frames_digest(shards: Iterable[Path]) -> str:
    """Return a hash of the clip_id and the content hash of every clip in these shards, in order."""
    digest = hashlib.blake2b(digest_size=16)
    for path in shards:
        table = tables.open_shard("frames", path).select(["clip_id", "content_hash"])
        table.validate(full=True)  # reading rows of a broken file could crash the process
        for name in table.column_names:
            digest.update("\n".join(str(value) for value in table[name].to_pylist()).encode())
    return digest.hexdigest()
