"""What an answer for a video takes: the files of a run, wherever they lie. Imports nothing heavy, unlike answer.py."""

from dataclasses import dataclass
from pathlib import Path

from kinetext.config.run import read_run
from kinetext.core.paths import need_places
from kinetext.data.splits import read_splits

COLUMNS = ("path", "rank", "label", "score", "share", "error")  # of an answer


@dataclass(frozen=True)
class Parts:
    """The files of a run, and the labels that a video is scored for, in order."""

    run: Path  # run.yaml
    backbone: Path
    texts: Path
    checkpoint: Path | None  # None where nothing was trained
    labels: list[str]
    captions: bool = False  # whether the texts are captions, each an answer of its own


def find_parts(folder: Path) -> Parts:
    """The parts of a run folder, of whose results folder it takes backbone, texts and labels.

    The labels are the test classes, or where there are novel ones all classes; captions are those of the test clips.
    Raises ValueError, with the rule that makes it, for a part that is missing.
    """
    spec = read_run(folder / "run.yaml")
    places = need_places(folder, spec.run, spec.backbone)
    trained = places.results / "runs" / (spec.trained_on or spec.run)
    checkpoint = trained / "checkpoint.safetensors"
    needed = {places.splits: "split_clips", places.texts: "describe_classes", places.weights: "prepare_backbone"}
    if (trained / "cost.json").is_file():  # only a training writes it
        needed[checkpoint] = "train_method"
    for path, rule in needed.items():
        if not path.is_file():
            raise ValueError(f"{path}: is missing; {rule} makes it: run `snakemake` first")
    tested = [split for name, split in read_splits(places.splits).items() if name not in ("train", "val")]
    widest = max(tested, key=lambda split: len(split.labels))
    labels, captions = widest.labels, widest.captioned
    tested_with = checkpoint if checkpoint in needed else None
    return Parts(folder / "run.yaml", places.weights.parent, places.texts, tested_with, labels, captions)
