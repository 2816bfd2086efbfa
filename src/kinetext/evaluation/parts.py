"""What an answer for a video takes: the files of a run, wherever they lie. Imports nothing heavy, unlike answer.py."""

from dataclasses import dataclass
from pathlib import Path

from kinetext.config import read_run, results_of
from kinetext.data.protocols import read_splits

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
    results = results_of(folder, spec.run)
    if results is None:
        raise ValueError(f"{folder}: is not runs/{spec.run} of a results folder, where its backbone and texts lie")
    about = results / "data" / spec.dataset / spec.protocol
    splits = about / "splits.parquet"
    texts = about / spec.backbone / "texts" / f"{spec.texts}.parquet"
    weights = results / "backbones" / spec.backbone / "weights.safetensors"
    trained = results / "runs" / (spec.trained_on or spec.run)
    checkpoint = trained / "checkpoint.safetensors"
    needed = {splits: "split_clips", texts: "describe_classes", weights: "prepare_backbone"}
    if (trained / "cost.json").is_file():  # only a training writes it
        needed[checkpoint] = "train_method"
    for path, rule in needed.items():
        if not path.is_file():
            raise ValueError(f"{path}: is missing; {rule} makes it: run `snakemake` first")
    tested = [split for name, split in read_splits(splits).items() if name not in ("train", "val")]
    widest = max(tested, key=lambda split: len(split.labels))
    labels, captions = widest.labels, widest.captioned
    return Parts(
        folder / "run.yaml", weights.parent, texts, checkpoint if checkpoint in needed else None, labels, captions
    )
