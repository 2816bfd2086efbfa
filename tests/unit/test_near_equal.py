"""Near-equal recordings: hashes survive re-encoding and scaling, differ between scenes, and every pair is found."""

import numpy as np
import pytest
import simplejpeg

from kinetext.core.tables import write_shard
from kinetext.data import near_equal as module
from kinetext.data.near_equal import MAX_BITS, NearEqual, difference_hash, hash_clips, near_equal, summary


def scene(seed, size=96):
    """A picture with large structures, as photographs have."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12, 3)).astype(np.float32)
    picture = np.kron(coarse, np.ones((size // 8, size // 8, 1)))[:size, : size + size // 4]
    return np.ascontiguousarray(picture).astype(np.uint8)


def jpeg(picture, quality=60):
    return simplejpeg.encode_jpeg(picture, quality, colorspace="RGB")


def distance(a, b):
    return (difference_hash(a) ^ difference_hash(b)).bit_count()


@pytest.mark.parametrize("seed", range(5))
def test_another_format_and_size_change_few_bits_and_another_scene_many(seed):
    picture = scene(seed)
    recoded = simplejpeg.decode_jpeg(jpeg(picture, 40), "RGB")
    assert distance(picture, recoded) <= MAX_BITS
    assert distance(picture, np.ascontiguousarray(recoded[::2, ::2])) <= MAX_BITS
    assert distance(picture, np.clip(picture * 0.8 + 20, 0, 255).astype(np.uint8)) <= MAX_BITS
    assert distance(picture, scene(seed + 100)) > 4 * MAX_BITS


def test_bits_are_the_signs_of_steps_to_the_right():
    rising = np.repeat(np.arange(9, dtype=np.uint8)[None, :, None] * 20, 8, 0).repeat(3, 2)
    assert difference_hash(rising) == 2**64 - 1
    assert difference_hash(np.ascontiguousarray(rising[:, ::-1])) == 0


def test_a_plain_picture_has_no_hash():
    assert difference_hash(np.full((64, 64, 3), 40, np.uint8)) is None
    square = np.full((64, 64, 3), 40, np.uint8)
    square[20:30, 20:30] = 255
    assert difference_hash(square) is None


def test_clips_of_a_shard_are_hashed_where_they_have_frames(tmp_path):
    rows = [
        {"clip_id": "a", "status": "ok", "images": [jpeg(scene(i)) for i in range(6)]},
        {"clip_id": "failed", "status": "failed", "images": []},
        {"clip_id": "plain", "status": "ok", "images": [jpeg(np.zeros((96, 96, 3), np.uint8))] * 6},
        {"clip_id": "raw", "status": "ok", "images": [np.ascontiguousarray(scene(9)[:96, :96]).tobytes()] * 2},
        {"clip_id": "other", "status": "ok", "images": [jpeg(scene(1))] * 6},
    ]
    write_shard("frames", [rows], tmp_path / "0.arrow")
    hashes = hash_clips([tmp_path / "0.arrow"], {"a", "failed", "plain", "raw"})
    assert set(hashes) == {"a", "raw"}
    decoded = [simplejpeg.decode_jpeg(rows[0]["images"][i], "RGB") for i in (1, 3, 5)]
    assert hashes["a"] == [difference_hash(picture) for picture in decoded]


def random_hashes(count, seed):
    generator = np.random.default_rng(seed)
    return {f"{seed}-{i}": [int(x) for x in generator.integers(0, 2**64, 3, np.uint64)] for i in range(count)}


@pytest.mark.parametrize("chunk", [10, 10_000_000])
def test_every_near_pair_is_found_and_no_other(monkeypatch, chunk):
    monkeypatch.setattr(module, "CHUNK", chunk)
    train, test = random_hashes(40, 1), random_hashes(30, 2)
    moved = train["1-7"]
    test["2-3"] = [moved[2] ^ 0b111, moved[0], moved[1] ^ (1 << 63)]  # the same frames at other places
    test["2-4"] = [moved[0], 12345, moved[1]]  # one frame of another scene
    test["2-5"] = [moved[0], 12345, 54321]  # two
    assert near_equal(train, test) == [NearEqual("1-7", "2-4", 0.0), NearEqual("1-7", "2-3", 1.0)]


def test_too_many_clips_are_compared_by_their_middle_frames(monkeypatch):
    monkeypatch.setattr(module, "MAX_COMPARISONS", 100)
    train, test = random_hashes(40, 1), random_hashes(30, 2)
    test["2-3"] = [0, train["1-7"][1] ^ 1, 0]
    assert near_equal(train, test) == [NearEqual("1-7", "2-3", 1.0)]


def test_nothing_is_near_nothing():
    assert near_equal({}, random_hashes(3, 1)) == []
    assert summary([]) == {"count": 0, "first": []}
    assert summary([NearEqual("a", "b", 2.0)]) == {"count": 1, "first": [["a", "b", 2.0]]}
