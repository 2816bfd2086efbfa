"""Find the files of a run that are needed to classify a video. Unlike classify.py, this imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path

from kinetext.config.run import read_run
from kinetext.core.paths import run_paths
from kinetext.core.tables import read_metadata
from kinetext.data.splits import read_splits
from kinetext.evaluation.calibration import Calibration, read_calibration

ANSWER_COLUMNS = (
    "path",
    "rank",
    "label",
    "score",
    "share",
    "calibrated",
    "error",
)  # of the table that `classify` gives


NO_PREDICTIONS = Calibration(reason="the run has no predictions yet; run `snakemake` first")


@dataclass(frozen=True)
class RunFiles:
    """The files of a run, and the labels that a video is scored for, in the order of the scores."""

    run: Path  # run.yaml
    backbone: Path
    texts: Path
    checkpoint: Path | None  # None where nothing was trained
    labels: list[str]
    captions: bool = False  # whether the texts are captions, each a label of its own
    multi_label: bool = False  # whether each label has a share of its own
    calibration: Calibration = NO_PREDICTIONS  # how scores become shares


def find_run_files(folder: Path) -> RunFiles:
    """Find the files of a run folder. The backbone, texts and labels come from the results folder.

    The labels are the test classes, or all classes if some are novel. Captions are those of the test clips. Raises
    ValueError for a missing file; the message names the rule that makes it. Raises ValueError too if a model behind a
    server answered.
    """
    spec = read_run(folder / "run.yaml")
    predictions = folder / "predictions.parquet"
    if predictions.is_file() and "answers" in read_metadata(predictions):
        raise ValueError(
            f"{folder}: {spec.method} is a model behind an API, which answers about clips of the data set only"
        )
    paths = run_paths(folder, spec.run)
    trained = paths.results / "runs" / (spec.trained_on or spec.run)
    checkpoint = trained / "checkpoint.safetensors"
    needed = {paths.splits: "split_clips", paths.texts: "describe_classes", paths.weights: "prepare_backbone"}
    if (trained / "cost.json").is_file():  # written by train_method only
        needed[checkpoint] = "train_method"
    for path, rule in needed.items():
        if not path.is_file():
            raise ValueError(f"{path}: is missing; {rule} makes it: run `snakemake` first")
    tested = [split for name, split in read_splits(paths.splits).items() if name not in ("train", "val")]
    widest = max(tested, key=lambda split: len(split.labels))
    return RunFiles(
        run=folder / "run.yaml",
        backbone=paths.weights.parent,
        texts=paths.texts,
        checkpoint=checkpoint if checkpoint in needed else None,
        labels=widest.labels,
        captions=widest.captioned,
        multi_label=widest.multi_label,
        calibration=_calibration(predictions),
    )


def _calibration(predictions: Path) -> Calibration:
    """Return the calibration that predict_clips fitted; NO_PREDICTIONS if the run has no predictions."""
    return read_calibration(read_metadata(predictions).get("calibration")) if predictions.is_file() else NO_PREDICTIONS
