"""Near-equal recordings: hashes survive re-encoding and scaling, differ between scenes, and every pair is found."""

import numpy as np
import pytest
import simplejpeg

from kinetext.config.data import ProtocolOptions
from kinetext.core.tables import read_metadata, write_shard, write_table
from kinetext.data import near_equal as module
from kinetext.data.datasets.base import Clip
from kinetext.data.images import content_hash
from kinetext.data.inspect import _near_equal_lines
from kinetext.data.near_equal import MAX_BITS, NearEqual, difference_hash, hash_clips, near_equal, summary
from kinetext.data.splits import split_clips
from kinetext.report.inputs import summarize_dataset
from kinetext.report.sources import DatasetFiles


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


def split(tmp_path, capsys, labels=("nod", "wave")):
    """Split two training clips and two test clips; the first test clip is the first training clip, smaller and later."""
    captions = [] if labels else ["a person nods"]
    clips, rows = [], []
    for number, (name, part) in enumerate([("a", "train"), ("b", "train"), ("a2", "test"), ("c", "test")]):
        label = labels[number % 2] if labels else None
        clips.append({"clip_id": name, "path": f"/{name}", "split": part, "label": label, "captions": captions})
        picture = np.ascontiguousarray(scene(0)[::2, ::2]) if name == "a2" else scene(number)
        images = [jpeg(picture)] * 4
        rows.append({"clip_id": name, "status": "ok", "images": images, "content_hash": content_hash(images)})
    write_table("clips", clips, tmp_path / "clips.parquet", {"labels": list(labels), "pairs": []})
    write_shard("frames", [rows], tmp_path / "0.arrow")
    output = tmp_path / "supervised/splits.parquet"
    split_clips("mine", tmp_path / "clips.parquet", [tmp_path / "0.arrow"], "supervised", ProtocolOptions(), output)
    return read_metadata(output)["near_equal"], capsys.readouterr().err


def test_split_clips_warns_and_the_report_repeats_it(tmp_path, capsys):
    pairs, log = split(tmp_path, capsys)
    ((train, test, bits),) = pairs["first"]
    assert (pairs["count"], train, test) == (1, "a", "a2")
    assert bits <= MAX_BITS
    assert "warning: mine, supervised: 1 test clips look like training clips: a ~ a2" in log
    run = {
        "dataset": "mine",
        "protocol": "supervised",
        "method": "m",
        "backbone": "b",
        "texts": "t",
        "seed": 0,
        "training": "",
    }
    files = DatasetFiles("mine", tmp_path / "clips.parquet", [tmp_path / "0.arrow"])
    (line,) = [line for line in summarize_dataset(files, [], [run])["deviations"] if "look like" in line]
    assert line.startswith("1 test clips look like training clips under supervised (a ~ a2); if they were cut from one")


def test_clips_with_captions_are_not_compared(tmp_path, capsys):
    pairs, log = split(tmp_path, capsys, labels=())
    assert pairs == {"count": 0, "first": []}
    assert "warning" not in log


def test_inspect_names_them_once_frames_are_extracted(tmp_path, capsys):
    split(tmp_path, capsys)
    clips = [Clip(name, tmp_path, part, "x") for name, part in (("a", "train"), ("b", "train"), ("a2", "test"))]
    (line,) = _near_equal_lines(clips, [], tmp_path / "near.txt")
    assert line.endswith("unknown until the frames are extracted")
    lines = list(_near_equal_lines(clips, [tmp_path / "0.arrow"], tmp_path / "near.txt"))
    assert lines[0] == "test clips that look like training clips: 1"
    assert (tmp_path / "near.txt").read_text().startswith("a ~ a2 (")
