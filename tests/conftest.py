"""Fixtures for the model side: a small CLIP with random weights, and a few clips of shapes with everything a run reads.
torch and open_clip are imported inside them, so that tests of tables and texts start fast.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from kinetext.core import tables
from splits import write_splits


def pytest_collection_modifyitems(items):
    """The longest first: what is left for the last minute shall be short. The two of SLURM are one worker's, there is one SLURM."""
    longest = ("workflow/test_slurm", "workflow/test_bucket", "workflow/", "")
    items.sort(key=lambda item: next(place for place, part in enumerate(longest) if part in item.nodeid))


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory) -> Path:
    """kinetext-tiny with random weights, as a backbone folder."""
    import torch

    from kinetext.backbones.checkpoint import save_backbone
    from kinetext.backbones.open_clip_vit import TINY, Architecture, Backbone

    folder = tmp_path_factory.mktemp("backbone")
    torch.manual_seed(0)
    save_backbone(Backbone(Architecture(TINY)), folder, {"weights": "random, for tests"})
    return folder


@pytest.fixture
def tiny(tiny_folder):
    """That backbone, a new one for each test: methods change what they are built on."""
    from kinetext.backbones.checkpoint import load_backbone

    return load_backbone(tiny_folder)


def text_rows(labels: list[str], descriptions: bool = True) -> list[dict]:
    """Rows of the table `texts`: a name for each class and, if asked for, how it starts and how it ends."""
    rows = []
    for label in labels:
        sentences = [("name", "whole", label)]
        if descriptions:
            sentences += [
                ("motion", "start", f"before {label} it waits"),
                ("motion", "end", f"then the {label} is over"),
            ]
        rows += [
            {"label": label, "kind": kind, "phase": phase, "sentence": said, "source": "test", "status": "ok"}
            for kind, phase, said in sentences
        ]
    return rows


@dataclass(frozen=True)
class World:
    """Clips of two pairs of shapes, indexed and extracted, with texts and confusables."""

    folder: Path
    backbone: Path
    labels: list[str]

    @property
    def clips(self) -> Path:
        return self.folder / "clips.parquet"

    def splits(self, novel: tuple[str, ...] = ()) -> Path:
        return write_splits(self.clips, novel)

    @property
    def frames(self) -> Path:
        return self.folder / "frames/00000.arrow"

    @property
    def shards(self) -> Path:
        return self.folder / "frames.json"

    @property
    def texts(self) -> Path:
        return self.folder / "texts.parquet"

    @property
    def confusables(self) -> Path:
        return self.folder / "confusables.parquet"

    def keep_frames(self, rows: list[dict]) -> None:
        """The rows of one shard, and the list of shards; any number may have failed."""
        from kinetext.data.checks import check_frames

        self.frames.parent.mkdir()
        tables.write_shard("frames", [rows], self.frames)
        check_frames(self.folder / "shards.txt", self.frames.parent, 1.0, self.shards)

    def inputs(self, splits: Path | None = None):
        """What a training reads beside its run.yaml."""
        from kinetext.training.setup import Inputs

        return Inputs(splits or self.splits(), [self.frames], self.texts, self.confusables, self.backbone)

    def write_run(self, folder: Path, method: str, seed: int = 0, novel: tuple[str, ...] = (), **training) -> Path:
        """A run.yaml of this method; the branch of STAN has two layers, which is quicker than four."""
        options = {"stan": {"layers": 2}, "moted": {"queries": 2, "visual_options": {"layers": 2}}}.get(method, {})
        protocol = "base_to_novel" if novel else "supervised"
        spec = {
            "run": f"shapes/{protocol}/{method}/test/seed{seed}",
            "dataset": "shapes",
            "protocol": protocol,
            "method": method,
            "texts": "test",
            "backbone": "tiny",
            "seed": seed,
            "protocol_options": {"novel": list(novel)},
            "method_module": method,
            "method_options": options,
            "training": {"epochs": 3, "batch_size": 6, "lr": 1e-4, "lr_new": 1e-3, **training},
            "dataset_options": {},
            "backbone_options": {},
            "text_options": {},
        }
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.yaml").write_text(yaml.safe_dump(spec))
        return folder / "run.yaml"


@pytest.fixture(scope="session")
def world(tmp_path_factory, tiny_folder) -> World:
    """Four classes, each with 4 training, 2 validation and 2 test clips of 8 frames, 64 px, as raw pixels."""
    from kinetext.config.data import DatasetOptions, FrameOptions
    from kinetext.data.frames import extract_clip
    from kinetext.data.index import index_clips

    folder = tmp_path_factory.mktemp("world")
    options = {"pairs": ["across", "size"], "train": 4, "val": 2, "test": 2, "workers": 1}
    labels = ["moving right", "moving left", "growing", "shrinking"]
    made = World(folder, tiny_folder, labels)
    paths = (folder / name for name in ("shards.txt", "media", "cache"))
    index_clips("shapes", DatasetOptions(options=options), made.clips, *paths)
    frames = FrameOptions(num_frames=8, size_px=64, encoding="raw")
    made.keep_frames([extract_clip(row, frames) for row in tables.read_rows("clips", made.clips)])
    tables.write_table("texts", text_rows(labels), made.texts)
    rivals = [(a, b) for pair in (labels[:2], labels[2:]) for a, b in (pair, pair[::-1])]
    tables.write_table(
        "confusables",
        [{"label": a, "rival": b, "score": 1.0, "rule": "declared", "rank": 1} for a, b in rivals],
        made.confusables,
    )
    return made


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


@pytest.fixture
def trained(world, tmp_path, on_cpu):
    """A function of a method and its training to the folder that it was trained in; `name` keeps two of them apart."""
    from kinetext.training.train import train_method

    def do(method, name="run", seed=0, splits=None, num_frames=None, **training):
        folder = tmp_path / name
        run = world.write_run(folder, method, seed, **training)
        if num_frames is not None:
            run.write_text(run.read_text() + f"num_frames: {num_frames}\n")
        train_method(run, world.inputs(splits), tmp_path / "cache" / name, folder / "checkpoint.safetensors")
        return folder

    return do
