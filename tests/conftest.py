"""Fixtures for the model side: a small CLIP with random weights, and a few clips of shapes with everything a run reads.
torch and open_clip are imported inside them, so that tests of tables and texts start fast.
"""

import json
import sys
from functools import partial
from pathlib import Path

import pytest

from kinetext.core import tables
from worlds import World, text_rows

pytest_plugins = ["finished_run", "skips"]


def pytest_collection_modifyitems(items):
    """Run the longest tests first, so that no worker is left alone with one at the end."""
    longest = (
        "test_slurm",
        "test_bucket",
        "kill_campaign",
        "training_kills",
        "test_workflow",
        "integration/",
        "stress/",
        "",
    )
    items.sort(key=lambda item: next(rank for rank, part in enumerate(longest) if part in item.nodeid))


@pytest.fixture(autouse=True)
def _fixed_seed():
    """Begin each test with the same seed: its random tensors do not depend on the tests that ran before it."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """kinetext-tiny with random weights, as a backbone folder. From here on its copies are not drawn anew."""
    import torch

    from drawn import build_or_copy
    from kinetext.backbones.checkpoint import save_backbone
    from kinetext.backbones.tiny import Tiny

    folder = tmp_path_factory.mktemp("backbone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kinetext.backbones.open_clip_vit.build_native", build_or_copy)
        torch.manual_seed(0)
        save_backbone(Tiny(), folder, {"weights": "random, for tests"})
        yield folder


@pytest.fixture
def tiny(tiny_folder):
    """That backbone, a new one for each test: methods change what they are built on."""
    from kinetext.backbones.checkpoint import load_backbone

    return load_backbone(tiny_folder)


@pytest.fixture(scope="session")
def world(tmp_path_factory, tiny_folder) -> World:
    """Four classes, each with 4 training, 2 validation and 2 test clips of 8 frames, 64 px, as raw pixels."""
    from kinetext.config.data import DatasetOptions, FrameOptions
    from kinetext.data.frames import extract_clip
    from kinetext.data.index import index_clips

    folder = tmp_path_factory.mktemp("world")
    options = {"pairs": ["across", "size"], "train": 4, "val": 2, "test": 2, "workers": 1}
    labels = ["moving right", "moving left", "growing", "shrinking"]
    world = World(folder, tiny_folder, labels)
    paths = (folder / name for name in ("shards.txt", "media", "cache"))
    index_clips("shapes", DatasetOptions(options=options), world.clips, *paths)
    frames = FrameOptions(num_frames=8, size_px=64, encoding="raw")
    world.keep_frames([extract_clip(row, frames) for row in tables.read_rows("clips", world.clips)])
    tables.write_table("texts", text_rows(labels), world.texts)
    rivals = [(a, b) for pair in (labels[:2], labels[2:]) for a, b in (pair, pair[::-1])]
    tables.write_table(
        "confusables",
        [{"label": a, "rival": b, "score": 1.0, "rule": "declared", "rank": 1} for a, b in rivals],
        world.confusables,
    )
    return world


@pytest.fixture(scope="session")
def captioned(tmp_path_factory, tiny_folder):
    """Six training, two validation and four test clips with four captions each; the last test clip has no frames."""
    from kinetext.backbones.embed import embed_labels
    from kinetext.config.data import DatasetOptions, FrameOptions
    from kinetext.config.texts import ConfusablesOptions, TextOptions
    from kinetext.data.frames import extract_clip
    from kinetext.data.index import index_clips
    from kinetext.texts.describe import describe_classes
    from kinetext.texts.mining import mine_confusables

    folder = tmp_path_factory.mktemp("captioned")
    world = World(folder, tiny_folder, [])
    options = {"pairs": ["across"], "train": 3, "val": 1, "test": 2, "workers": 1}
    paths = (folder / name for name in ("shards.txt", "media", "cache"))
    index_clips("shapes_captions", DatasetOptions(options=options), world.clips, *paths)
    frames = FrameOptions(num_frames=8, size_px=64, encoding="raw")
    rows = [extract_clip(row, frames) for row in tables.read_rows("clips", world.clips)]
    rows[-1] |= {"status": "failed", "error": "empty_file", "images": []}
    world.keep_frames(rows)
    embed_labels(tiny_folder, world.clips, folder / "labels.npz")
    about = (world.clips, world.splits())
    mine_confusables(*about, [], folder / "labels.npz", ConfusablesOptions(), world.confusables)
    describe_classes(*about, world.confusables, TextOptions(), "captions", "text", folder / "cache", world.texts)
    return world


@pytest.fixture
def on_cpu(monkeypatch):
    """Equality to the last bit is promised on the CPU."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def train(world, root, method, name="run", seed=0, splits=None, num_frames=None, **training) -> Path:
    """Train a method below `root`; return its folder."""
    from kinetext.training.train import train_method

    folder = root / name
    run = world.write_run(folder, method, seed, **training)
    if num_frames is not None:
        run.write_text(run.read_text() + f"num_frames: {num_frames}\n")
    train_method(run, world.inputs(splits), root / "cache" / name, folder / "checkpoint.safetensors")
    return folder


@pytest.fixture
def trained(world, tmp_path, on_cpu):
    """A function of a method and its training to the folder that it was trained in; `name` keeps two of them apart."""
    return partial(train, world, tmp_path)


@pytest.fixture(scope="session")
def whole_runs(tmp_path_factory) -> tuple[Path, dict[str, Path]]:
    return tmp_path_factory.mktemp("whole"), {}


@pytest.fixture
def whole(world, whole_runs, on_cpu):
    """As `trained`, for a training that nothing disturbs: tests that ask for the same one share its folder."""
    root, folders = whole_runs

    def do(method, **training):
        key = json.dumps([method, training], sort_keys=True)
        if key not in folders:
            folders[key] = train(world, root, method, f"run{len(folders)}", **training)
        return folders[key]

    return do
