"""What every data set promises (src/kinetext/data/datasets/__init__.py), tried with a small configuration of each."""

from pathlib import Path

import av
import numpy as np
import pytest
from pydantic import ValidationError

import official
from captioned import WRITERS
from kinetext.config.data import DatasetOptions, FrameOptions
from kinetext.core import plugins, tables
from kinetext.data import datasets
from kinetext.data.datasets import Clip
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


@pytest.fixture(params=plugins.module_names(datasets))
def small(request, tmp_path):
    """The module, its small configuration, its options and its media folder."""
    if request.param not in SMALL:
        pytest.fail(f"data set '{request.param}' has no entry in SMALL; add a small config for it here")
    module = plugins.load_module(datasets, request.param)
    options = SMALL[request.param](tmp_path)
    return module, plugins.configure(module, options), options, tmp_path / "media"


def test_the_configuration_is_frozen_and_refuses_unknown_options(small):
    module, config, options, _ = small
    assert issubclass(module.Config, plugins.Options)
    with pytest.raises(ValidationError):
        setattr(config, next(iter(module.Config.model_fields)), None)
    with pytest.raises(ValueError, match="unknown key"):
        plugins.configure(module, {**options, "no_such_option": 1})


def test_clips_are_listed_twice_alike_with_names_of_their_own(small):
    module, config, _, media = small
    clips = list(module.list_clips(config, media))
    assert clips
    assert all(isinstance(clip, Clip) for clip in clips)
    assert len({clip.clip_id for clip in clips}) == len(clips)
    assert {clip.split for clip in clips} <= {"train", "val", "test"}
    assert any(clip.split == "train" for clip in clips)
    assert all((clip.label is None) == bool(clip.captions) for clip in clips)
    assert list(module.list_clips(config, media)) == clips


def test_labels_and_pairs_name_classes(small):
    module, config, _, media = small
    used = {clip.label for clip in module.list_clips(config, media)} - {None}
    labels = datasets.ask(module, "labels", config, sorted(used))
    captioned = getattr(module, "CAPTIONED", False)
    assert captioned is None or captioned == (labels == [])
    assert len(set(labels)) == len(labels)
    assert used <= set(labels)
    for label, rival in datasets.ask(module, "given_pairs", config, []):
        assert label != rival
        assert {label, rival} <= set(labels)


def test_its_clips_become_a_table_and_a_clip_becomes_frames(small, tmp_path):
    module, _, options, media = small
    name = module.__name__.rsplit(".", 1)[-1]
    paths = tmp_path / "clips.parquet", tmp_path / "shards.txt", media, tmp_path / "cache"
    index_clips(name, DatasetOptions(options=options), *paths)
    rows = tables.read_rows("clips", tmp_path / "clips.parquet")
    assert {row["shard"] for row in rows} == {line.split()[0] for line in paths[1].read_text().splitlines()}
    frames = extract_clip(rows[0], FrameOptions(num_frames=2, size_px=32))
    assert (frames["status"], len(frames["images"])) == ("ok", 2), frames["error"]
