"""The predictions of one split under one view, as metrics see them. Clips B, classes or captions K."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kinetext.core.tables import metadata_of, read_table


@dataclass(frozen=True)
class Predictions:
    """Scores of clips for classes, or for captions: a label is then the name of the caption's clip."""

    labels: list[str]
    target_B: np.ndarray  # int, index into labels
    scores_BK: np.ndarray  # float, larger is likelier; NaN in a row whose clip has no frames
    clip_ids: list[str] | None = None  # the clips' names, as long as all clips are there
    bank_BP: np.ndarray | None = None  # scores for captions of training clips, as scores_BK; None under other views
    captioned: bool = False  # whether the labels are captions

    def __len__(self) -> int:
        """Clips."""
        return len(self.target_B)

    def take(self, rows: np.ndarray) -> "Predictions":
        """The predictions of some clips, in the order of `rows` (repeats allowed: a bootstrap draw), without names."""
        bank_BP = None if self.bank_BP is None else self.bank_BP[rows]
        taken = {"target_B": self.target_B[rows], "scores_BK": self.scores_BK[rows], "bank_BP": bank_BP}
        return replace(self, clip_ids=None, **taken)


def read_predictions(path: Path, only: str | None = None) -> dict[tuple[str, str], Predictions]:
    """Every (split, view) of predictions.parquet, or those of the view `only`."""
    table = read_table("predictions", path)
    metadata = metadata_of(table.schema)
    if only is not None:
        table = table.filter(pc.equal(table["view"], only))
    splits, views = np.array(table["split"].to_pylist()), np.array(table["view"].to_pylist())
    found = {}
    for split, view in sorted(set(zip(splits.tolist(), views.tolist(), strict=True))):
        rows = table.take(np.flatnonzero((splits == split) & (views == view)))
        bank_BP = None if rows["bank_P"].null_count else _matrix(rows["bank_P"])
        found[split, view] = Predictions(
            metadata["labels"][split],
            rows["target"].to_numpy(),
            _matrix(rows["score_K"]),
            rows["clip_id"].to_pylist(),
            bank_BP,
            bool(metadata.get("captioned")),
        )
    return found


def predicted(predictions: Predictions) -> np.ndarray:
    """The class that scores highest for each clip, as an index into the labels, predicted_B; -1 for a clip without frames.

    A clip is its own class's only if that scores strictly higher than every other, as top1 counts it: of a tie with its
    own class it is the other one's.
    """
    own_B = predictions.scores_BK[np.arange(len(predictions)), predictions.target_B]
    others_BK = predictions.scores_BK.copy()
    np.put_along_axis(others_BK, predictions.target_B[:, None], -np.inf, axis=1)
    best_B = others_BK.argmax(axis=1)
    ahead_B = own_B > others_BK.max(axis=1)
    return np.where(np.isnan(own_B), -1, np.where(ahead_B, predictions.target_B, best_B))


def _matrix(lists: pa.ChunkedArray) -> np.ndarray:
    """A column of equally long lists, float64."""
    values = lists.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(lists), -1).astype(np.float64)
