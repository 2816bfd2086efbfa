"""The predictions of one split under one view, as metrics see them. Clips B, classes or captions K."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kinetext.tables import read_metadata, read_table


@dataclass(frozen=True)
class Predictions:
    """Scores of clips for classes, or for captions: a label is then the name of the caption's clip."""

    labels: list[str]
    target_B: np.ndarray  # int, index into labels
    scores_BK: np.ndarray  # float, larger is likelier; NaN in a row whose clip has no frames
    clip_ids: list[str] | None = None  # the clips, where labels are captions

    def __len__(self) -> int:
        """Clips."""
        return len(self.target_B)

    def take(self, rows: np.ndarray) -> "Predictions":
        """The predictions of some clips, in the order of `rows` (repeats allowed: a bootstrap draw)."""
        return replace(self, target_B=self.target_B[rows], scores_BK=self.scores_BK[rows])


def read_predictions(path: Path) -> dict[tuple[str, str], Predictions]:
    """Every (split, view) of predictions.parquet."""
    table, metadata = read_table("predictions", path), read_metadata(path)
    splits, views = np.array(table["split"].to_pylist()), np.array(table["view"].to_pylist())
    found = {}
    for split, view in sorted(set(zip(splits.tolist(), views.tolist(), strict=True))):
        rows = table.take(np.flatnonzero((splits == split) & (views == view)))
        labels = metadata["labels"][split]
        scores = rows["score_K"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        clip_ids = rows["clip_id"].to_pylist() if metadata.get("captioned") else None
        scores_BK = scores.reshape(len(rows), -1).astype(np.float64)
        found[split, view] = Predictions(labels, rows["target"].to_numpy(), scores_BK, clip_ids)
    return found
