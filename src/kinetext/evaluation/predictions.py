"""The predictions of one split under one view, as metrics see them. Clips B, classes K."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kinetext.tables import read_metadata, read_table


@dataclass(frozen=True)
class Predictions:
    """Scores of clips for classes."""

    labels: list[str]
    target_B: np.ndarray  # int, index into labels
    scores_BK: np.ndarray  # float, larger is likelier; NaN in a row whose clip has no frames

    def take(self, rows: np.ndarray) -> "Predictions":
        """The predictions of some clips, in the order of `rows` (repeats allowed: a bootstrap draw)."""
        return replace(self, target_B=self.target_B[rows], scores_BK=self.scores_BK[rows])


def read_predictions(path: Path) -> dict[tuple[str, str], Predictions]:
    """Every (split, view) of predictions.parquet."""
    table, labels = read_table("predictions", path), read_metadata(path)["labels"]
    splits, views = np.array(table["split"].to_pylist()), np.array(table["view"].to_pylist())
    targets = table["target"].to_numpy()
    scores = table["score_K"].to_pylist()
    found = {}
    for split, view in sorted(set(zip(splits.tolist(), views.tolist(), strict=True))):
        rows = np.flatnonzero((splits == split) & (views == view))
        scores_BK = np.array([scores[i] for i in rows], np.float64)
        found[split, view] = Predictions(labels[split], targets[rows], scores_BK)
    return found
