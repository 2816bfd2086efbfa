"""Find near-equal recordings in training and test clips: copies in another format or size, or parts of one recording.

Some frames of each clip get a perceptual hash, the difference hash (dHash, Krawetz, hackerfactor.com, 2013): the grey
image is averaged to 9 x 8 cells, and each of 64 bits states whether a cell is brighter than its left neighbour.
Re-encoding and scaling change few bits. Each hashed frame of a test clip is compared with the nearest hashed frame of a
training clip. The two clips are near-equal if the median number of different bits is at most MAX_BITS. docs/data.md has
the measured distances.

T frames, H x W pixels, C channels (RGB); M training clips, N test clips, F hashed frames of a clip.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kinetext.core.tables import open_shard
from kinetext.data.images import decode_image

MAX_BITS = 4  # of 64
HASHED_FRAMES = 3  # of a clip, evenly spaced
ROWS, COLUMNS = 8, 9
MIN_STEP, MIN_STEPS = 2.0, 20  # a picture with fewer steps of so many grey levels is too plain to be recognised
MAX_COMPARISONS = 4_000_000_000  # of two frames; above it only the middle frames are compared
CHUNK = 20_000_000


class NearEqual(NamedTuple):
    """The clip_ids of a training and a test clip that look alike, and the median number of different bits (0 to 64)."""

    train: str
    test: str
    bits: float


def difference_hash(frame_HWC: np.ndarray) -> int | None:
    """Return the 64-bit difference hash of an RGB image [H, W, 3]; None if the image is too plain to be recognised."""
    grey_HW = frame_HWC.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    cells: np.ndarray = grey_HW
    for axis, number in ((0, ROWS), (1, COLUMNS)):
        edges = np.arange(number) * cells.shape[axis] // number
        sizes = np.diff([*edges, cells.shape[axis]])
        shape = [-1 if i == axis else 1 for i in range(2)]
        cells = np.add.reduceat(cells, edges, axis=axis) / sizes.reshape(shape)
    steps = np.diff(cells, axis=1)
    if (np.abs(steps) >= MIN_STEP).sum() < MIN_STEPS:
        return None
    return int.from_bytes(np.packbits(steps > 0).tobytes(), "big")


def hash_clips(shards: Sequence[Path], clip_ids: Collection[str]) -> dict[str, list[int]]:
    """Return the hashes of up to HASHED_FRAMES frames of each of these clips, by clip_id.

    Frames that are too plain are left out, and so are clips without a hashed frame.
    """
    hashes: dict[str, list[int]] = {}
    for path in shards:
        table = open_shard("frames", path)
        images = table["images"]
        for row, clip_id in enumerate(table["clip_id"].to_pylist()):
            stored = images[row].values if clip_id in clip_ids else None
            if stored is None or not len(stored):
                continue
            chosen = sorted({(2 * i + 1) * len(stored) // (2 * HASHED_FRAMES) for i in range(HASHED_FRAMES)})
            decoded = (decode_image(memoryview(stored[i].as_buffer()).cast("B")) for i in chosen)
            values = [value for image in decoded if (value := difference_hash(image)) is not None]
            if values:
                hashes[clip_id] = values
    return hashes


def near_equal(train: dict[str, list[int]], test: dict[str, list[int]]) -> list[NearEqual]:
    """Return a pair for each test clip that has a near-equal training clip, with the nearest one.

    The most similar pairs are first. Above MAX_COMPARISONS comparisons of frames, only the middle hashed frame of each
    clip is compared.
    """
    if not train or not test:
        return []
    train_ids, test_ids = list(train), list(test)
    train_MF, test_NF = (_matrix([hashes[c] for c in ids]) for hashes, ids in ((train, train_ids), (test, test_ids)))
    if train_MF.size * test_NF.size > MAX_COMPARISONS:
        train_MF, test_NF = (x[:, x.shape[1] // 2, None] for x in (train_MF, test_NF))
    step = max(1, CHUNK // (train_MF.size * test_NF.shape[1]))
    pairs = []
    for start in range(0, len(test_ids), step):
        bits_NFMF = np.bitwise_count(test_NF[start : start + step, :, None, None] ^ train_MF)
        bits_NM = np.median(bits_NFMF.min(3), axis=1)
        nearest_N = bits_NM.argmin(1)
        for row, column in enumerate(nearest_N):
            if bits_NM[row, column] <= MAX_BITS:
                pairs.append(NearEqual(train_ids[column], test_ids[start + row], float(bits_NM[row, column])))
    return sorted(pairs, key=lambda pair: (pair.bits, pair.test))


def _matrix(hashes: list[list[int]]) -> np.ndarray:
    """Return the hashes as uint64 [clips, F]. A clip with fewer than F hashes repeats its last one."""
    return np.array([[*row, *[row[-1]] * (HASHED_FRAMES - len(row))] for row in hashes], np.uint64)


def summary(pairs: list[NearEqual], most: int = 20) -> dict[str, Any]:
    """Return the number of pairs (`count`) and the first `most` of them (`first`), for the metadata of a table."""
    return {"count": len(pairs), "first": [list(pair) for pair in pairs[:most]]}
