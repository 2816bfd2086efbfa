"""Score every test clip of a run for its classes or captions: `kinetext predict-clips`.

Each clip is scored with its frames in order and, as motion probes, reversed, shuffled (one fixed shuffle per clip) and
with the middle frame repeated. A method that uses motion loses accuracy under the probes. An image encoder processes
each frame alone, so it runs once per clip and its tokens are reordered.

The views of a clip (temporal clips x spatial crops) are not motion probes: their scores are averaged.

Several processes take whole batches in turn. The scores of a clip are bitwise equal to those from a single process.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import torch

from kinetext.config.run import read_run
from kinetext.core import distributed
from kinetext.core.tables import write_table
from kinetext.data.labels import row_classes
from kinetext.data.splits import Split, read_splits
from kinetext.data.store import FrameStore
from kinetext.evaluation.predict_frames import predict_frames
from kinetext.evaluation.predictor import Predictor, Row
from kinetext.evaluation.scores import load_method
from kinetext.methods.base import configure_method


def predict_clips(
    run: Path,
    splits: Path,
    frames: list[Path],
    texts: Path,
    backbone_folder: Path,
    checkpoint: Path | None,
    output: Path,
    threads: int = 1,
    cache: Path | None = None,
) -> None:
    """Write the table `predictions` for all splits except train and val.

    A method that needs training clips of every class is scored on the splits without novel classes.

    A method that reads frames is asked about each clip (predict_frames.py) and needs `cache`, the folder of cached
    replies; it uses no backbone.

    The metadata has the calibration that was fitted on val. A clip without frames has NaN scores and counts as wrong
    for every method. Clips with captions are also scored for captions of training clips (`bank_P`). With several
    processes, each calls this function and the first one writes.
    """
    process_threads = max(1, threads // distributed.local_world_size())
    torch.set_num_threads(process_threads)
    spec = read_run(run)
    if configure_method(spec.method_module, spec.method_options)[0].reads == "frames":
        predict_frames(spec, splits, frames, texts, cache, output)
        return
    device = distributed.device()
    all_splits = read_splits(splits)
    train = all_splits["train"]
    method = load_method(spec, backbone_folder, checkpoint, device, train.multi_label)
    store = FrameStore(frames)
    tested = _tested_splits(all_splits, method.needs_training_clips)
    predictor = Predictor(spec, method, store, device, process_threads)
    rows, labels = list[Row](), dict[str, list[str]]()
    with torch.inference_mode():
        bank = predictor.encode_bank(train, texts)
        for splits_of_clips in _splits_by_clips(tested):
            split_texts = {name: predictor.encode_split(split, texts) for name, split in splits_of_clips.items()}
            labels |= {name: encoded.labels for name, encoded in split_texts.items()}
            clips = next(iter(splits_of_clips.values())).rows
            predictor.count_gflops(clips, next(iter(split_texts.values())).chunks)
            rows += predictor.rows_without_frames(clips, split_texts, bank)
            rows += predictor.rows_with_frames(clips, split_texts, bank)
        calibration = predictor.calibrate(all_splits["val"], texts)
    clips_per_s, cost = predictor.clips_per_s(), predictor.cost(checkpoint)  # every process
    if distributed.rank() > 0:
        return
    order = list(tested)
    rows.sort(key=lambda row: order.index(row["split"]))
    metadata = {
        "labels": {name: labels[name] for name in tested},
        "testing": spec.testing.model_dump(),
        "predict_clips_per_s": clips_per_s,
        "cost": cost,
        "calibration": calibration.document(),
        **_facts_of_splits(tested, train, store),
    }
    write_table("predictions", rows, output, metadata)


def _tested_splits(splits: dict[str, Split], trained_classes_only: bool) -> dict[str, Split]:
    """Return the splits with test clips. A method that needs training clips has no scores for novel classes."""
    tested = {name: split for name, split in splits.items() if name not in ("train", "val") and split.rows}
    if not trained_classes_only:
        return tested
    return {name: split for name, split in tested.items() if set(split.labels) <= set(splits["train"].labels)}


def _facts_of_splits(tested: dict[str, Split], train: Split, store: FrameStore) -> dict[str, Any]:
    """Return the metadata that follow from the splits: failed clips, kinds of labels, and training clips per class."""
    return {
        "captioned": any(split.captioned for split in tested.values()),
        "failed": {
            name: [row["clip_id"] for row in split.rows if row["clip_id"] not in store]
            for name, split in tested.items()
        },
        "train_clips": {} if train.captioned else Counter(label for row in train.rows for label in row_classes(row)),
        "multi_label": train.multi_label,
    }


def _splits_by_clips(splits: dict[str, Split]) -> list[dict[str, Split]]:
    """Return the splits in groups with the same clips. A clip is encoded once and scored for all splits of a group."""
    groups: dict[tuple[str, ...], dict[str, Split]] = {}
    for name, split in splits.items():
        groups.setdefault(tuple(row["clip_id"] for row in split.rows), {})[name] = split
    return list(groups.values())
