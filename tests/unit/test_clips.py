"""What index_clips says of a data set, and that videos added later are the only ones extracted later."""

import hashlib
import os
import shutil

import pytest

from kinetext.config.data import DatasetOptions, FrameOptions
from kinetext.core import tables
from kinetext.data import frames
from kinetext.data.frames import extract_frames
from kinetext.data.index import index_clips
from kinetext.data.stale import stale_clips
from kinetext.data.videos import Videos
from videos import write_video

OPTIONS = FrameOptions(num_frames=2, size_px=32)


def index(folder, root, shard_clips=3, module="folder", detect_changes="stat", **options):
    wanted = DatasetOptions(
        module=module,
        options={"root": str(root), **options},
        shard_clips=shard_clips,
        detect_changes=detect_changes,
    )
    index_clips("mine", wanted, folder / "clips.parquet", folder / "shards.txt", folder / "media", folder / "cache")
    return dict(line.split() for line in (folder / "shards.txt").read_text().splitlines())


@pytest.fixture
def extracted(tmp_path, monkeypatch):
    """A function that extracts the shards and gives the names of the clips that it decoded."""
    monkeypatch.setattr(frames, "map_with_timeout", lambda function, items, *_, **__: map(function, items))

    def extract(shards, options=OPTIONS):
        decoded = []
        real = frames.decode_clip
        monkeypatch.setattr(frames, "decode_clip", lambda path, *a: decoded.append(path.name) or real(path, *a))
        for shard in shards:
            output = tmp_path / "frames" / f"{shard}.arrow"
            output.unlink(missing_ok=True)  # as Snakemake does
            extract_frames(tmp_path / "clips.parquet", shard, options, output, 1, tmp_path / "cache")
        monkeypatch.setattr(frames, "decode_clip", real)
        return sorted(decoded)

    return extract


def add(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_video(root / name, 6)


def test_only_added_videos_are_decoded(tmp_path, extracted):
    root = tmp_path / "root"
    add(root, "train/b/3.mp4", "train/b/4.mp4", "train/b/5.mp4", "train/b/6.mp4")
    before = index(tmp_path, root)
    assert extracted(before) == ["3.mp4", "4.mp4", "5.mp4", "6.mp4"]
    rows = tables.open_shard("frames", tmp_path / "frames/00001.arrow").to_pylist()

    add(root, "train/a/1.mp4")  # the first in the order of names
    after = index(tmp_path, root)
    assert after["00000"] == before["00000"]  # so Snakemake leaves that shard alone
    assert after["00001"] != before["00001"]
    assert extracted(["00001"]) == ["1.mp4"]
    now = tables.open_shard("frames", tmp_path / "frames/00001.arrow").to_pylist()
    assert [row["clip_id"] for row in now] == ["train/a/1.mp4", "train/b/6.mp4"]
    assert now[1] == rows[0]


def test_changed_videos_are_decoded_again(tmp_path, extracted):
    root = tmp_path / "root"
    add(root, "train/a/1.mp4", "train/a/2.mp4", "train/a/3.mp4")
    (root / "train/a/2.mp4").write_bytes(b"")
    shards = index(tmp_path, root)
    assert len(extracted(shards)) == 3
    assert index(tmp_path, root) == shards  # nothing changed: Snakemake leaves the shard alone
    assert extracted(shards) == ["2.mp4"]  # what failed is tried again
    os.utime(root / "train/a/1.mp4", (0, 0))
    assert index(tmp_path, root) != shards
    assert extracted(shards) == ["1.mp4", "2.mp4"]
    assert len(extracted(shards, FrameOptions(num_frames=3, size_px=32))) == 3
    (tmp_path / "cache/00000.arrow").write_bytes(b"broken")
    assert len(extracted(index(tmp_path, root))) == 3


def test_another_shard_size_assigns_all_clips_anew(tmp_path, extracted):
    root = tmp_path / "root"
    add(root, *(f"train/a/{i}.mp4" for i in range(4)))
    assert list(index(tmp_path, root, shard_clips=4)) == ["00000"]
    extracted(["00000"])
    assert list(index(tmp_path, root, shard_clips=2)) == ["00000", "00001"]


def test_a_file_that_must_not_be_read_is_a_failed_row(tmp_path, extracted):
    tables.write_table(
        "clips",
        [
            {
                "clip_id": "a",
                "path": "/etc/passwd",
                "split": "train",
                "label": "x",
                "shard": "0",
                "error": "outside_root: no",
            }
        ],
        tmp_path / "clips.parquet",
    )
    assert extracted(["0"]) == []
    (row,) = tables.open_shard("frames", tmp_path / "frames/0.arrow").to_pylist()
    assert (row["status"], row["error"]) == ("failed", "outside_root: no")


def test_equal_images_have_equal_hashes(tmp_path, extracted):
    root = tmp_path / "root"
    add(root, "train/a/1.mp4", "test/a/2.mp4")
    shutil.copy(root / "train/a/1.mp4", root / "test/a/2.mp4")
    write_video(root / "test/a/3.mp4", 7)
    extracted(index(tmp_path, root))
    rows = tables.open_shard("frames", tmp_path / "frames/00000.arrow").to_pylist()
    hashes = {row["clip_id"]: row["content_hash"] for row in rows}
    assert hashes["train/a/1.mp4"] == hashes["test/a/2.mp4"] != hashes["test/a/3.mp4"]


def test_lists_sizes_and_odd_files_are_recorded(tmp_path, capsys):
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 Wave\n")
    (lists / "trainlist01.txt").write_text("Wave/v_Wave_g01_c01.avi 1\nWave/v_Wave_g01_c02.avi 1\n")
    (lists / "testlist01.txt").write_text("Wave/v_Wave_g02_c01.avi\n")
    root = tmp_path / "root"
    for name in ("Wave/v_Wave_g01_c01.avi", "Wave/v_Wave_g02_c01.avi", "Wave/new.avi"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    index(tmp_path, root, module="ucf101", annotations=str(lists))
    metadata = tables.read_metadata(tmp_path / "clips.parquet")
    content = (lists / "testlist01.txt").read_bytes()
    assert metadata["lists"][str(lists / "testlist01.txt")] == hashlib.sha256(content).hexdigest()
    assert metadata["absent"] == {"count": 1, "first": [str(root / "Wave/v_Wave_g01_c02.avi")]}
    assert metadata["unlisted"] == {"count": 1, "first": [str(root / "Wave/new.avi")]}
    assert metadata["sizes"]["test"] == [1, 3783]
    printed = capsys.readouterr().err
    assert "1 absent files" in printed
    assert "test: 1 listed, 3783 published" in printed
    assert "1 files in no list, first" in printed


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        ("a/-x.avi", "a/-x.avi"),
        ("a/b.avi", "a/b.webm"),  # lists and files differ in their suffix
        ("a/b", "a/b.webm"),
        ("a/B.webm", "a/B.webm"),  # absent: it differs by its case
        ("a/./b.webm", "a/b.webm"),
        ("two.mp4", "two.mp4"),  # absent: two.avi and two.mkv could be meant
        ("v1.5", "v1.5.mp4"),
        ("inner.mp4", "c/d/inner.mkv"),  # a bare name lies in any folder
        ("e/inner.mp4", "e/inner.mp4"),  # absent: one with a folder lies there
        ("b.avi", "b.avi"),  # absent: a/b.webm and c/b.webm could be meant
    ],
)
def test_where_a_listed_video_is(tmp_path, wanted, path):
    for name in ("a/-x.avi", "a/b.webm", "two.avi", "two.mkv", "v1.5.mp4", "c/b.webm", "c/d/inner.mkv", ".hidden.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    assert Videos(tmp_path).find(wanted) == (tmp_path / path, None)


@pytest.mark.parametrize("wanted", ["../secret.mp4", "/etc/passwd", "a/../../b.mp4", ".."])
def test_a_list_may_not_lead_out_of_the_root(tmp_path, wanted):
    root = tmp_path / "root"
    root.mkdir()
    _, error = Videos(root).find(wanted)
    assert error is not None
    assert error.startswith(f"outside_root: the list names {wanted}")


@pytest.mark.parametrize("detect_changes", ["stat", "content"])
def test_a_video_replaced_with_size_and_time_kept_is_noticed_by_its_content(detect_changes, tmp_path, extracted):
    root = tmp_path / "root"
    add(root, "train/a/1.mp4", "train/a/2.mp4")
    before = index(tmp_path, root, detect_changes=detect_changes)
    assert extracted(before) == ["1.mp4", "2.mp4"]
    video = root / "train/a/1.mp4"
    content, state = video.read_bytes(), video.stat()
    video.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(video, ns=(state.st_atime_ns, state.st_mtime_ns))

    noticed = detect_changes == "content"
    message = "train/a/1.mp4 (another content, same size and modification time)"
    assert stale_clips(tmp_path / "clips.parquet") == ([message] if noticed else [])
    after = index(tmp_path, root, detect_changes=detect_changes)
    assert (after != before) == noticed
    assert extracted(after) == (["1.mp4"] if noticed else [])
    assert stale_clips(tmp_path / "clips.parquet") == []


def test_hashes_of_contents_are_those_of_the_files_and_only_read_if_asked_for(tmp_path):
    root = tmp_path / "root"
    add(root, "train/a/1.mp4", "outside.mp4")
    os.symlink(tmp_path / "elsewhere.mp4", root / "train/a/2.mp4")
    add(tmp_path, "elsewhere.mp4")
    index(tmp_path, root)
    assert {row["video_hash"] for row in tables.read_rows("clips", tmp_path / "clips.parquet")} == {None}
    index(tmp_path, root, detect_changes="content")
    hashes = {row["clip_id"]: row["video_hash"] for row in tables.read_rows("clips", tmp_path / "clips.parquet")}
    assert hashes == {
        "train/a/1.mp4": hashlib.sha256((root / "train/a/1.mp4").read_bytes()).hexdigest(),
        "train/a/2.mp4": None,  # behind a link out of the root, which must not be read
    }
    assert "detect_changes" not in DatasetOptions().model_dump()  # so that existing indexes stay as they are
