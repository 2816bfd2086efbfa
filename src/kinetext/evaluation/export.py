"""Write the predictions of a run for a spreadsheet: `kinetext export-predictions`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kinetext.config.run import read_run
from kinetext.core.escape import write_csv
from kinetext.core.paths import find_run_paths
from kinetext.core.tables import read_rows
from kinetext.evaluation.predictions import predicted_classes, read_predictions

COLUMNS = ("split", "clip_id", "path", "label", "predicted", "correct", "share", "rank")


def export_predictions(run: Path, output: Path) -> None:
    """Write a row for each test clip of a run, its frames in order; columns COLUMNS.

    `share` is the softmax of the predicted class's score over all classes (not calibrated), `rank` the place of the
    clip's own class, from 1. For captions, a class is the clip that a caption belongs to. A clip without frames has no
    prediction. `path` is empty outside a results folder. Raises ValueError if the run has no predictions.
    """
    spec, path = read_run(run / "run.yaml"), run / "predictions.parquet"
    if not path.is_file():
        raise ValueError(f"{run}: predictions.parquet is missing; run `snakemake` first")
    paths = find_run_paths(run, spec.run)
    clips = None if paths is None else paths.splits.parents[1] / "clips.parquet"
    path_by_clip = (
        {row["clip_id"]: row["path"] for row in read_rows("clips", clips)} if clips and clips.is_file() else {}
    )
    write_csv(output, _rows(path, path_by_clip), COLUMNS, encoding="utf-8-sig")


def _rows(path: Path, path_by_clip: dict[str, str]) -> Iterator[dict[str, Any]]:
    for (split, _), predictions in read_predictions(path, frame_order="ordered").items():
        predicted_B = predicted_classes(predictions)
        for b, clip_id in enumerate(predictions.clip_ids or ()):
            label = predictions.labels[predictions.target_B[b]]
            row = {"split": split, "clip_id": clip_id, "path": path_by_clip.get(clip_id, ""), "label": label}
            k, score_K = int(predicted_B[b]), predictions.scores_BK[b]
            if k >= 0:
                weight_K = np.exp(score_K - score_K.max())
                row |= {"predicted": predictions.labels[k], "correct": int(predictions.labels[k] == label)}
                row |= {"share": round(float(weight_K[k] / weight_K.sum()), 6)}
                row |= {"rank": 1 + int((score_K > score_K[predictions.target_B[b]]).sum())}
            yield row
