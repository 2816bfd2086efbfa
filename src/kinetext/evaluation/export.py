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

COLUMNS = ("split", "clip_id", "path", "label", "predicted", "correct", "share", "calibrated", "rank")


def export_predictions(run: Path, output: Path) -> None:
    """Write a CSV with one row per test clip of a run, predicted from frames in their true order. Columns: COLUMNS.

    `share` is the probability of the predicted class, and `calibrated` is 1 if it was fitted on validation clips.
    `rank` is the rank of the clip's own class, from 1. If a clip has several labels, `label` joins them with a vertical
    bar, `correct` is 1 if the predicted class is one of them, and `rank` is that of the label that scores highest. In
    retrieval, the class of a caption is the clip that it belongs to. A clip without frames has no prediction. `path` is
    empty if the run is outside a results folder. Raises ValueError if the run has no predictions.
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
        best_B = np.nan_to_num(predictions.scores_BK, nan=-np.inf).argmax(axis=1)
        failed_B = np.isnan(predictions.scores_BK).any(axis=1)
        predicted_B = np.where(failed_B, -1, best_B) if predictions.multi_label else predicted_classes(predictions)
        shares_BK, calibrated = predictions.calibration.shares(predictions.scores_BK), predictions.calibration.fitted
        for b, clip_id in enumerate(predictions.clip_ids or ()):
            label_indices = (
                np.flatnonzero(predictions.labels_BK[b])
                if predictions.labels_BK is not None
                else [predictions.target_B[b]]
            )
            label = " | ".join(predictions.labels[k] for k in label_indices)
            row: dict[str, Any] = {
                "split": split,
                "clip_id": clip_id,
                "path": path_by_clip.get(clip_id, ""),
                "label": label,
            }
            k, score_K = int(predicted_B[b]), predictions.scores_BK[b]
            if k >= 0:
                right = predictions.labels[k] in [predictions.labels[i] for i in label_indices]
                row |= {"predicted": predictions.labels[k], "correct": int(right)}
                row |= {"share": round(float(shares_BK[b, k]), 6), "calibrated": int(calibrated)}
                row |= {"rank": 1 + int((score_K > score_K[label_indices].max()).sum())}
            yield row
