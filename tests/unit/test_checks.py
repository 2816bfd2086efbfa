"""check_frames: frames.json, which represents the shards of a data set for all that reads frames."""

import json

import pytest

from kinetext.core import tables
from kinetext.data.checks import check_frames, list_shards


def shard(folder, name, statuses):
    """A shard whose clips have these statuses; what failed has no images."""
    rows = [
        {
            "clip_id": f"{name}/{i}",
            "status": status,
            "error": "empty_file" if status == "failed" else "",
            "content_hash": None if status == "failed" else str(i),
            "images": [] if status == "failed" else [bytes([i])],
            "encoding": "raw",
            "frame_indices": [],
            "pts_s": [],
        }
        for i, status in enumerate(statuses)
    ]
    folder.mkdir(exist_ok=True)
    tables.write_shard("frames", [rows], folder / f"{name}.arrow")


@pytest.fixture
def shards(tmp_path):
    shard(tmp_path / "frames", "00000", ["ok", "ok", "short"])
    shard(tmp_path / "frames", "00001", ["ok", "failed"])
    (tmp_path / "shards.txt").write_text("00000 aa\n00001 bb\n")
    return tmp_path


def check(folder, max_failed=1.0):
    check_frames(folder / "shards.txt", folder / "frames", max_failed, folder / "frames/frames.json")
    return json.loads((folder / "frames/frames.json").read_text())


def test_frames_json_counts_clips_and_lists_the_shards_by_their_pictures(shards):
    content = check(shards)
    assert content["clips"] == {"ok": 3, "short": 1, "failed": 1}
    assert list(content["shards"]) == ["00000", "00001"]
    (shards / "frames/00002.arrow").write_bytes(b"of an earlier list")
    assert check(shards) == content
    shard(shards / "frames", "00001", ["failed", "ok"])  # other pictures
    assert check(shards)["shards"]["00001"] != content["shards"]["00001"]
    assert check(shards)["shards"]["00000"] == content["shards"]["00000"]


def test_too_many_failed_clips_stop_with_the_first_of_them(shards):
    with pytest.raises(
        ValueError, match=r"1 of 5 clips have no frames, more than max_failed 0\.1 .*00001/1: empty_file"
    ):
        check(shards, 0.1)
    assert not (shards / "frames/frames.json").exists()
    check(shards, 0.2)


def test_shards_are_those_that_are_listed_in_their_order(shards):
    check(shards)
    (shards / "frames/00002.arrow").write_bytes(b"of an earlier list")
    assert list_shards(shards / "frames/frames.json") == [shards / f"frames/0000{i}.arrow" for i in (0, 1)]
    with pytest.raises(ValueError, match=r"features/00000\.arrow: is missing, but .*frames\.json lists it"):
        list_shards(shards / "frames/frames.json", shards / "features")
