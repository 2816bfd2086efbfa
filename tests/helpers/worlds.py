"""Clips of shapes with everything a run reads, and rows of texts for them."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from kinetext.core import tables
from splits import write_splits


def text_rows(labels: list[str], descriptions: bool = True) -> list[dict]:
    """Rows of the table `texts`: a name for each class and, if asked for, how it starts and how it ends."""
    rows = []
    for label in labels:
        sentences = [("name", None, label)]
        if descriptions:
            sentences += [
                ("motion", 0.0, f"before {label} it waits"),
                ("motion", 1.0, f"then the {label} is over"),
            ]
        rows += [
            {"label": label, "kind": kind, "position": position, "sentence": sentence, "source": "test", "status": "ok"}
            for kind, position, sentence in sentences
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
        return self.folder / "frames/frames.json"

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
        options = {
            "stan": {"layers": 2},
            "moted": {"visual_options": {"layers": 2}},
            "attentive_probe": {"depth": 1, "heads": 4, "lr": [1e-3], "weight_decay": [0.1], "epochs": 1},
        }.get(method, {})
        protocol = "base_to_novel" if novel else "supervised"
        spec = {
            "run": f"shapes/{protocol}/tiny/{method}/test/seed{seed}",
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
