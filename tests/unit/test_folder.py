import csv
import shutil
from collections import Counter
from pathlib import Path

import pytest

from kinetext.config.data import DatasetOptions, FrameOptions
from kinetext.core import plugins, tables
from kinetext.data.datasets.base import Clip
from kinetext.data.datasets.folder import FolderDataset, _random_splits
from kinetext.data.frames import extract_frames
from kinetext.data.index import index_clips, list_dataset
from kinetext.data.links import links_out
from kinetext.data.videos import SUFFIXES, scan
from kinetext.plan import dataset_inputs
from repository import ROOT

REAL = ROOT.parent / "shared" / "data" / "videos"


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def listed(root, **options):
    return list(FolderDataset(FolderDataset.Config(root=str(root), **options)).list_clips(root))


def test_split_folders(tmp_path):
    touch(tmp_path, "train/push_up/a.mp4", "validation/push_up/a.MP4", "test/sit_up/b.webm", "test/sit_up/notes.txt")
    touch(tmp_path, "train/sit_up/c.avi")
    touch(tmp_path, "test/sit_up/.hidden.mp4", ".cache/x/y.mp4")
    clips = {clip.clip_id: (clip.split, clip.label) for clip in listed(tmp_path)}
    assert clips == {
        "train/push_up/a.mp4": ("train", "push up"),
        "train/sit_up/c.avi": ("train", "sit up"),
        "validation/push_up/a.MP4": ("val", "push up"),
        "test/sit_up/b.webm": ("test", "sit up"),
    }
    assert all(clip.path == tmp_path / clip.clip_id for clip in listed(tmp_path))


def test_files_that_differ_in_their_suffix_are_two_clips(tmp_path):
    touch(tmp_path, "wave/a.mp4", "wave/a.avi")
    assert [clip.clip_id for clip in listed(tmp_path)] == ["wave/a.avi", "wave/a.mp4"]


def test_all_suffixes_of_the_other_data_sets_are_read(tmp_path):
    touch(tmp_path, *(f"wave/a{suffix}" for suffix in SUFFIXES), "wave/a.txt")
    assert {".mp4", ".wmv", ".mpg", ".m2ts", ".gif"} <= SUFFIXES
    assert {clip.path.suffix for clip in listed(tmp_path)} == SUFFIXES


def test_the_random_split_depends_on_class_and_seed(tmp_path):
    touch(tmp_path, *(f"many/{i}.mp4" for i in range(20)), *(f"few/{i}.mp4" for i in range(3)), "one/0.mp4")
    clips = listed(tmp_path)
    counts = Counter((clip.label, clip.split) for clip in clips)
    assert counts == {
        ("many", "train"): 14,
        ("many", "val"): 2,
        ("many", "test"): 4,
        ("few", "train"): 2,
        ("few", "test"): 1,
        ("one", "train"): 1,
    }
    assert listed(tmp_path) == clips
    assert listed(tmp_path, seed=1) != clips
    shutil.rmtree(tmp_path / "few")  # the other classes do not change
    assert listed(tmp_path) == [clip for clip in clips if clip.label != "few"]


def test_every_class_keeps_a_training_clip_and_gets_a_test_clip(tmp_path):
    for test in (0.01, 0.5, 0.9):
        for num_clips in range(1, 12):
            splits = _random_splits(num_clips, "a", FolderDataset.Config(root=".", val=0.09, test=test))
            assert len(splits) == num_clips
            assert "train" in splits
            assert "test" in splits or num_clips < 3


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["a.mp4"], "put the videos into one folder per class"),
        (["train/a/0.mp4", "b/0.mp4"], "has the split folder train/ beside b/"),
        (["a_b/0.mp4", "a b/0.mp4"], "are both the class 'a b'"),
        (["a/deep/0.mp4"], "is a folder inside a class folder"),
        (["train/eat/0.mp4", "test/Eat/0.mp4"], "root: .*/test/Eat: 'Eat' is none of the 1 classes of the training"),
        (["__/0.mp4"], "names no class; rename it"),
    ],
)
def test_a_layout_that_could_be_misread_is_refused(tmp_path, files, message):
    touch(tmp_path, *files)
    with pytest.raises(ValueError, match=message):
        listed(tmp_path)


def test_a_missing_root_is_named_with_its_nearest_parent(tmp_path):
    with pytest.raises(ValueError, match=f"no folder {tmp_path}/videos/mine; nearest existing parent: {tmp_path}$"):
        listed(tmp_path / "videos" / "mine")


@pytest.mark.parametrize("linked", ["file", "folder"])
@pytest.mark.parametrize("module", ["folder", "csv"])
def test_a_link_out_of_the_root_is_listed_and_not_read(tmp_path, module, linked):
    outside = touch(tmp_path / "outside" / "deep", "a.mp4")
    root = touch(tmp_path / "root", "wave/b.mp4", "jump/d.mp4")
    (root / "wave" / "inner.mp4").symlink_to(root / "wave" / "b.mp4")
    if linked == "file":
        (root / "wave" / "a.mp4").symlink_to(outside / "a.mp4")
        bad, link, target = "wave/a.mp4", root / "wave" / "a.mp4", outside / "a.mp4"
    else:
        (root / "run").symlink_to(outside)
        bad, link, target = "run/a.mp4", root / "run", outside
    options = {"root": str(root)}
    if module == "csv":
        (tmp_path / "list.csv").write_text(f"path,split,label\n{bad},train,x\nwave/inner.mp4,train,y\n")
        options["list"] = str(tmp_path / "list.csv")
    _, clips, _ = list_dataset("mine", DatasetOptions(module=module, options=options), tmp_path)
    errors = {clip.clip_id: clip.error for clip in clips}
    message = f"outside_root: {link} is a link to {target}, out of {root}; allow it with `links: follow`"
    assert errors.pop(bad) == message
    assert set(errors.values()) == {None}
    _, clips, _ = list_dataset("mine", DatasetOptions(module=module, options=options, links="follow"), tmp_path)
    assert {clip.error for clip in clips} == {None}


def test_a_link_to_a_folder_above_is_named(tmp_path):
    root = touch(tmp_path / "root", "wave/b.mp4")
    (root / "again").symlink_to(root)
    with pytest.raises(ValueError, match=rf"^root: the link {root}/again leads back to {root}; remove the link$"):
        listed(root)
    with pytest.raises(ValueError, match="leads back to"):
        list(scan(root))


def test_two_links_that_make_a_loop_together_are_named(tmp_path):
    root = touch(tmp_path / "root", "A/a.mp4", "B/b.mp4")
    (root / "A" / "x").symlink_to(root / "B")
    (root / "B" / "y").symlink_to(root / "A")
    with pytest.raises(ValueError, match=r"^root: the link \S+/[AB]/\S+ leads back to"):
        list(scan(root))
    with pytest.raises(ValueError, match="leads back to"):
        list(links_out(str(root)))


def test_a_link_to_itself_is_an_absent_file(tmp_path):
    root = touch(tmp_path / "root", "wave/b.mp4")
    (root / "wave" / "self.mp4").symlink_to(root / "wave" / "self.mp4")
    assert [clip.clip_id for clip in listed(root)] == ["wave/b.mp4", "wave/self.mp4"]
    assert list(scan(root)) == ["wave/b.mp4"]
    assert dataset_inputs(DatasetOptions(options={"root": str(root)}), "folder") == [str(root), f"{root}/wave"]


def test_folders_and_files_without_a_clip_are_named(tmp_path, capsys):
    touch(tmp_path, "train/wave/a.mp4", "train/wave/b.jpg", "train/nod/c.xyz", "train/list.txt", "readme.md")
    skipped = [
        "train/nod/ (a class folder without a video)",
        "readme.md (not in a class folder)",
        "train/list.txt (not in a class folder)",
        "train/nod/c.xyz (its suffix is not that of a video)",
        "train/wave/b.jpg (its suffix is not that of a video)",
    ]
    assert FolderDataset(FolderDataset.Config(root=str(tmp_path))).skipped() == skipped
    index(tmp_path / "train", tmp_path)
    assert all(f"no clip from {line}" in capsys.readouterr().err for line in skipped[:1])
    assert tables.read_metadata(tmp_path / "train" / "clips.parquet")["skipped"] == {"count": 5, "first": skipped}


def test_names_that_differ_by_case_only_are_a_warning(tmp_path, capsys):
    index(tmp_path, touch(tmp_path / "root", "eat/0.mp4", "Eat/0.mp4", "eat_up/0.mp4"))
    assert (
        "the classes 'Eat' and 'eat' are one text to CLIP, which ignores case and how accents are encoded"
        in capsys.readouterr().err
    )


def test_names_that_differ_in_how_accents_are_written_are_a_warning(tmp_path, capsys):
    index(tmp_path, touch(tmp_path / "root", "café/0.mp4", "cafe\u0301/0.mp4", "cafe/0.mp4"))  # as Linux, as macOS
    assert (
        "the classes 'cafe\u0301' and 'café' are one text to CLIP, which ignores case and how accents are encoded"
        in capsys.readouterr().err
    )


def test_clips_of_one_recording_stay_together_also_across_classes(tmp_path):
    names = [f"{label}/rec{i}_{part}.mp4" for label in ("nod", "wave") for i in range(10) for part in range(3)]
    touch(tmp_path, *names, "wave/alone.mp4")
    clips = listed(tmp_path, group=r"^(rec\d+)_")
    splits = {}
    for clip in clips:
        splits.setdefault(clip.group or clip.clip_id, set()).add(clip.split)
    assert set(splits) == {f"rec{i}" for i in range(10)} | {"wave/alone.mp4"}
    assert all(len(names) == 1 for names in splits.values())
    assert Counter(clip.split for clip in clips if clip.label == "nod") == {"train": 21, "val": 3, "test": 6}


@pytest.mark.parametrize(
    ("group", "message"),
    [("rec(", "group: 'rec\\(' is not a regular expression"), ("xyz", "group: 'xyz' matches no file name")],
)
def test_a_group_that_cannot_be_right_is_refused(tmp_path, group, message):
    touch(tmp_path, "wave/a.mp4")
    with pytest.raises(ValueError, match=message):
        list(
            FolderDataset(plugins.configure(FolderDataset, {"root": str(tmp_path), "group": group})).list_clips(
                tmp_path
            )
        )


def test_shares_that_leave_nothing_to_train_on_are_refused():
    with pytest.raises(ValueError, match=r"val \+ test is 1.1; keep it below 1"):
        plugins.configure(FolderDataset, {"root": ".", "val": 0.5, "test": 0.6})


# ---- index_clips


def shard_names(folder):
    return [line.split()[0] for line in (folder / "shards.txt").read_text().splitlines()]


def index(tmp_path, root, **options):
    wanted = DatasetOptions(module="folder", options={"root": str(root)}, **options)
    paths = (tmp_path / name for name in ("clips.parquet", "shards.txt", "media", "cache"))
    index_clips("mine", wanted, *paths)
    return tables.read_rows("clips", tmp_path / "clips.parquet")


def test_the_index_has_labels_shards_and_absolute_paths(tmp_path, capsys):
    root = touch(tmp_path / "root", *(f"train/{c}/{i}.mp4" for c in ("b_b", "a") for i in range(3)), "test/a/9.mp4")
    (root / "test" / "a" / "gone.mp4").symlink_to(root / "nowhere.mp4")
    rows = index(tmp_path, root, shard_clips=3)
    metadata = tables.read_metadata(tmp_path / "clips.parquet")
    gone = str(root / "test" / "a" / "gone.mp4")
    assert metadata["labels"] == ["a", "b b"]
    assert metadata["absent"] == {"count": 1, "first": [gone]}
    assert [row["shard"] for row in rows] == ["00000"] * 3 + ["00001"] * 3 + ["00002"] * 2
    assert shard_names(tmp_path) == ["00000", "00001", "00002"]
    assert rows[0]["path"] == str(root / "test" / "a" / "9.mp4")
    error = capsys.readouterr().err
    assert "8 clips (train 6, val 0, test 2), 2 classes, 3 shards, 1 absent files" in error


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        ([], "no clips found"),
        ([Clip("x", Path("x"), "train", "a")] * 2, "duplicate clip_id 'x'; ids must be unique"),
        ([Clip("x", Path("x"), "train", "aa")], "a clip has 'aa', which is not a class; did you mean 'a'"),
        ([Clip("x", Path("x"), "dev", "a")], "clip x has split 'dev'"),
        ([Clip("x", Path("x"), "train")], "clip x has neither a label nor captions"),
    ],
)
def test_a_list_that_contradicts_itself_is_refused(tmp_path, monkeypatch, clips, message):
    monkeypatch.setattr(FolderDataset, "list_clips", lambda dataset, media: iter(clips))
    monkeypatch.setattr(FolderDataset, "labels", lambda dataset: ["a", "b"])
    with pytest.raises(ValueError, match=message):
        index(tmp_path, tmp_path)
    assert not (tmp_path / "clips.parquet").exists()


def test_clips_that_are_excluded_are_left_out(tmp_path):
    root = touch(tmp_path / "root", "train/rising/0.mp4", "train/falling/0.mp4", "train/falling/1.mp4")
    (tmp_path / "overlap.txt").write_text("train/falling/0.mp4\n")
    rows = index(tmp_path, root, exclude=str(tmp_path / "overlap.txt"))
    assert [row["clip_id"] for row in rows] == ["train/falling/1.mp4", "train/rising/0.mp4"]
    (tmp_path / "overlap.txt").write_text("train/falling/7.mp4\n")
    with pytest.raises(ValueError, match=r"exclude: .*overlap.txt names 'train/falling/7.mp4', which is not a clip"):
        index(tmp_path, root, exclude=str(tmp_path / "overlap.txt"))


# ---- real videos


@pytest.mark.skipif(not REAL.is_dir(), reason=f"sample videos: not at {REAL}")
def test_real_videos_from_folders_to_frames(tmp_path):
    with open(REAL / "manifest.csv", newline="") as file:
        manifest = {row["file"]: row for row in csv.DictReader(file)}
    for name, row in manifest.items():
        class_folder = tmp_path / "root" / "train" / (row["label"] or "unnamed").replace(" ", "_")
        class_folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REAL / name, class_folder / name)
    clips = index(tmp_path, tmp_path / "root", shard_clips=20)
    assert len(clips) == len(manifest)
    assert {row["label"] for row in clips} == {row["label"] or "unnamed" for row in manifest.values()}

    shards = shard_names(tmp_path)
    files = [tmp_path / f"{shard}.arrow" for shard in shards]
    for shard, path in zip(shards, files, strict=True):
        extract_frames(tmp_path / "clips.parquet", shard, FrameOptions(size_px=64, aspect="storage"), path)
    rows = [row for path in files for row in tables.open_shard("frames", path).to_pylist()]
    assert [row["clip_id"] for row in rows] == [clip["clip_id"] for clip in clips]
    for row in rows:
        known = manifest[Path(row["clip_id"]).name]
        assert len(row["images"]) == 8
        if known["error"]:  # decord's corrupted.mp4: a naive loop stops at frame 28 of 50
            assert row["status"] == "damaged"
            assert row["num_substituted"] > 0
            continue
        if row["stream"] == 3:  # the larger of two default streams, as FFmpeg chooses; the manifest has the first
            assert (row["num_packets"], row["width_px"], row["height_px"]) == (390, 480, 270)
            continue
        assert row["num_packets"] == int(known["frames_decoded"])
        assert row["status"] == ("ok" if int(known["frames_decoded"]) >= 8 else "short")
        turned = row["rotation_deg"] in (90, 270)
        size = (row["height_px"], row["width_px"]) if turned else (row["width_px"], row["height_px"])
        assert size == (int(known["width_px"]), int(known["height_px"]))
    assert Counter(row["status"] for row in rows) == {"ok": 25, "short": 5, "damaged": 1}
