"""The contract of data sets (data/datasets/base.py), checked with a small configuration of each."""

from pathlib import Path

import av
import numpy as np
import pytest
from pydantic import ValidationError

import official
from captioned import WRITERS
from kinetext.config.data import DatasetOptions, FrameOptions
from kinetext.core import plugins, tables
from kinetext.data.datasets.base import Clip, build_dataset
from kinetext.data.frames import extract_clip
from kinetext.data.index import index_clips


def folder_options(place: Path) -> dict:
    for split, label in (("train", "wave"), ("train", "nod"), ("test", "wave"), ("test", "nod")):
        path = place / "videos" / split / label / "0.mp4"
        path.parent.mkdir(parents=True)
        with av.open(str(path), "w") as output:
            stream = output.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for i in range(10):
                frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * i, np.uint8), format="rgb24")
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    return {"root": str(place / "videos")}


# data set -> a function of an empty folder to options with which it lists a few clips in a second
SMALL = {
    "folder": folder_options,
    "shapes": lambda place: {"train": 1, "val": 0, "test": 1},
    "shapes_captions": lambda place: {"train": 1, "val": 0, "test": 1},
    **WRITERS,
    **official.WRITERS,
}


@pytest.fixture(params=plugins.names("datasets"))
def small(request, tmp_path):
    """The data set with a small configuration, its options and its media folder."""
    if request.param not in SMALL:
        pytest.fail(f"data set '{request.param}' has no entry in SMALL; add a small config for it here")
    options = SMALL[request.param](tmp_path)
    return build_dataset(request.param, DatasetOptions(options=options)), options, tmp_path / "media"


def test_the_configuration_is_frozen_and_refuses_unknown_options(small):
    dataset, options, _ = small
    assert issubclass(dataset.Config, plugins.Options)
    with pytest.raises(ValidationError):
        setattr(dataset.config, next(iter(dataset.Config.model_fields)), None)
    with pytest.raises(ValueError, match="unknown key"):
        plugins.configure(dataset, {**options, "no_such_option": 1})


def test_clips_have_unique_ids_and_are_the_same_each_time(small):
    dataset, _, media = small
    clips = list(dataset.list_clips(media))
    assert clips
    assert all(isinstance(clip, Clip) for clip in clips)
    assert len({clip.clip_id for clip in clips}) == len(clips)
    assert {clip.split for clip in clips} <= {"train", "val", "test"}
    assert any(clip.split == "train" for clip in clips)
    assert all((clip.label is None) == bool(clip.captions) for clip in clips)
    assert list(dataset.list_clips(media)) == clips


def test_labels_and_declared_pairs_are_classes(small):
    dataset, _, media = small
    used = {clip.label for clip in dataset.list_clips(media)} - {None}
    labels = dataset.labels() or sorted(used)
    assert dataset.captioned is None or dataset.captioned == (labels == [])
    assert len(set(labels)) == len(labels)
    assert used <= set(labels)
    for label, rival in dataset.declared_pairs():
        assert label != rival
        assert {label, rival} <= set(labels)


def test_clips_can_be_indexed_and_extracted(small, tmp_path):
    dataset, options, media = small
    name = type(dataset).__module__.rsplit(".", 1)[-1]
    paths = tmp_path / "clips.parquet", tmp_path / "shards.txt", media, tmp_path / "cache"
    index_clips(name, DatasetOptions(options=options), *paths)
    rows = tables.read_rows("clips", tmp_path / "clips.parquet")
    assert {row["shard"] for row in rows} == {line.split()[0] for line in paths[1].read_text().splitlines()}
    frames = extract_clip(rows[0], FrameOptions(num_frames=2, size_px=32))
    assert (frames["status"], len(frames["images"])) == ("ok", 2), frames["error"]
