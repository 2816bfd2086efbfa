"""The predictions of one split under one view, as metrics see them. Clips B, classes or captions K."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from kinetext.tables import read_metadata, read_table


@dataclass(frozen=True)
class Predictions:
    """Scores of clips for classes, or for captions: a label is then the name of the caption's clip."""

    labels: list[str]
    target_B: np.ndarray  # int, index into labels
    scores_BK: np.ndarray  # float, larger is likelier; NaN in a row whose clip has no frames
    clip_ids: list[str] | None = None  # the clips, where labels are captions
    bank_BP: np.ndarray | None = None  # scores for captions of training clips, as scores_BK; None under other views

    def __len__(self) -> int:
        """Clips."""
        return len(self.target_B)

    def take(self, rows: np.ndarray) -> "Predictions":
        """The predictions of some clips, in the order of `rows` (repeats allowed: a bootstrap draw)."""
        bank_BP = None if self.bank_BP is None else self.bank_BP[rows]
        return replace(self, target_B=self.target_B[rows], scores_BK=self.scores_BK[rows], bank_BP=bank_BP)


def read_predictions(path: Path) -> dict[tuple[str, str], Predictions]:
    """Every (split, view) of predictions.parquet."""
    table, metadata = read_table("predictions", path), read_metadata(path)
    splits, views = np.array(table["split"].to_pylist()), np.array(table["view"].to_pylist())
    found = {}
    for split, view in sorted(set(zip(splits.tolist(), views.tolist(), strict=True))):
        rows = table.take(np.flatnonzero((splits == split) & (views == view)))
        labels = metadata["labels"][split]
        clip_ids = rows["clip_id"].to_pylist() if metadata.get("captioned") else None
        bank_BP = None if rows["bank_P"].null_count else _matrix(rows["bank_P"])
        found[split, view] = Predictions(labels, rows["target"].to_numpy(), _matrix(rows["score_K"]), clip_ids, bank_BP)
    return found


def _matrix(lists: pa.ChunkedArray) -> np.ndarray:
    """A column of equally long lists, float64."""
    values = lists.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(lists), -1).astype(np.float64)
