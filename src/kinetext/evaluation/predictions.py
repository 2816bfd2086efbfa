"""Predictions of the clips of one split in one frame order, as read by the metrics. B clips, K classes or captions."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kinetext.core.tables import metadata_of, read_table
from kinetext.data.labels import row_classes
from kinetext.evaluation.calibration import UNKNOWN, Calibration, read_calibration

PART_COLUMNS = ("split", "frame_order")  # rows with equal values in both are one `Predictions`


@dataclass(frozen=True)
class Predictions:
    """Scores of clips for classes or captions. The label of a caption is the clip_id of its clip."""

    labels: list[str]
    target_B: np.ndarray  # int, index into labels
    scores_BK: np.ndarray  # float, higher is more likely; NaN in the row of a clip without frames or answer
    clip_ids: list[str] | None = None  # None after `take`
    bank_BP: np.ndarray | None = None  # scores for captions of training clips; None for frames out of order
    captioned: bool = False  # whether the labels are captions
    group_B: np.ndarray | None = None  # index of each clip's group, the same in all splits of a run; None: one per clip
    train_clips_K: np.ndarray | None = None  # number of training clips of each class; None: unknown, or captions
    calibration: Calibration = UNKNOWN  # how scores become shares
    untrained: bool = False  # nothing was trained, so that every seed has the same scores
    kind_B: np.ndarray | None = None  # str, kind of motion of each clip, "" if unknown; None: unknown for all
    labels_BK: np.ndarray | None = None  # which classes each clip has, where it may have several; target_B is then -1

    @property
    def multi_label(self) -> bool:
        """Return whether a clip may have several classes."""
        return self.labels_BK is not None

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.target_B)

    @cached_property
    def rank_B(self) -> np.ndarray:
        """The rank of the class of each clip, from 1, after all other classes with an equal score.

        For NaN scores it is the largest int32.
        """
        target_score_B = self.scores_BK[np.arange(len(self)), self.target_B]
        rank_B = (~(self.scores_BK < target_score_B[:, None])).sum(axis=1)  # the class itself is counted
        return np.where(np.isnan(target_score_B), np.iinfo(np.int32).max, rank_B)

    def take(self, rows: np.ndarray) -> "Predictions":
        """Return the predictions of the clips at these rows, in that order and without clip_ids. Rows may repeat."""
        return replace(
            self,
            target_B=self.target_B[rows],
            scores_BK=self.scores_BK[rows],
            clip_ids=None,
            bank_BP=None if self.bank_BP is None else self.bank_BP[rows],
            group_B=None if self.group_B is None else self.group_B[rows],
            kind_B=None if self.kind_B is None else self.kind_B[rows],
            labels_BK=None if self.labels_BK is None else self.labels_BK[rows],
        )


def read_predictions(path: Path, frame_order: str | None = None) -> dict[tuple[str, str], Predictions]:
    """Read predictions.parquet; return predictions by (split, frame order).

    With `frame_order`, only this frame order is read.
    """
    return predictions_of(read_table("predictions", path, PART_COLUMNS), frame_order)


def predictions_of(table: pa.Table, frame_order: str | None = None) -> dict[tuple[str, str], Predictions]:
    """Return the predictions of a table `predictions` by (split, frame order)."""
    metadata = metadata_of(table.schema)
    if frame_order is not None:
        table = table.filter(pc.equal(table["frame_order"], frame_order))
    part_R, parts = _parts(table)
    group_R = _groups(table["group"], table["clip_id"])
    predictions, ids = {}, _Ids()
    for number, (split, order) in parts.items():
        indices = np.flatnonzero(part_R == number)
        rows = _rows(table, indices)
        predictions[split, order] = Predictions(
            labels=metadata["labels"][split],
            target_B=pc.fill_null(rows["target"], -1).to_numpy(),
            scores_BK=_matrix(rows["score_K"]),
            clip_ids=ids.read(rows["clip_id"]),
            bank_BP=None if rows["bank_P"].null_count else _matrix(rows["bank_P"]),
            captioned=bool(metadata.get("captioned")),
            group_B=None if group_R is None else group_R[indices],
            kind_B=_kinds(rows["kind"]),
            train_clips_K=_train_clips(metadata, metadata["labels"][split]),
            calibration=read_calibration(metadata.get("calibration")),
            untrained=_untrained(metadata.get("cost") or {}),
            labels_BK=label_matrix(rows["targets"].to_pylist(), len(metadata["labels"][split]))
            if metadata.get("multi_label")
            else None,
        )
    return dict(sorted(predictions.items()))


def _untrained(cost: dict[str, Any]) -> bool:
    """Return whether another seed would give the same scores. A method that asks a server does so with its seed."""
    nothing = cost.get("trained_parameters") == 0 == cost.get("new_parameters")
    return nothing and "requests_per_clip" not in cost


def _parts(table: pa.Table) -> tuple[np.ndarray, dict[int, tuple[str, str]]]:
    """Return the part number [R] of each of R rows, and the (split, frame order) of each number."""
    columns = [table[name].combine_chunks().dictionary_encode() for name in PART_COLUMNS]
    (split_R, order_R), (splits, orders) = zip(
        *((column.indices.to_numpy(), column.dictionary.to_pylist()) for column in columns), strict=True
    )
    part_R = split_R * len(orders) + order_R
    numbers = np.flatnonzero(np.bincount(part_R))
    return part_R, {
        number: (splits[number // len(orders)], orders[number % len(orders)]) for number in numbers.tolist()
    }


def _rows(table: pa.Table, rows: np.ndarray) -> pa.Table:
    """Return the rows at some indices, without a copy if the indices are consecutive."""
    follow = len(rows) == rows[-1] - rows[0] + 1
    return table.slice(rows[0], len(rows)) if follow else table.take(rows)


class _Ids:
    """Converts columns of clip ids to lists. Equal columns share one list."""

    def __init__(self) -> None:
        self.known: list[tuple[pa.ChunkedArray, list[str]]] = []

    def read(self, clip_id: pa.ChunkedArray) -> list[str]:
        """Return the column as a list, which equal columns share."""
        for column, clip_ids in self.known:
            if column.equals(clip_id):
                return clip_ids
        self.known.append((clip_id, clip_id.to_pylist()))
        return self.known[-1][1]


def prediction_row(
    clip: dict[str, Any],
    split: str,
    frame_order: str,
    targets: dict[str, int],
    score_K: np.ndarray,
    bank_P: np.ndarray | None,
) -> dict[str, Any]:
    """Return a row of the table `predictions`. `clip` is a row of the table `splits`."""
    return {
        "clip_id": clip["clip_id"],
        "split": split,
        "frame_order": frame_order,
        "group": clip.get("group"),
        "kind": clip.get("kind"),
        "target": None if clip["label"] is None else targets[clip["label"]],
        "targets": None if clip["label"] is not None else [targets[label] for label in row_classes(clip)],
        "score_K": score_K,
        "bank_P": bank_P if frame_order == "ordered" else None,
    }


def predicted_classes(predictions: Predictions) -> np.ndarray:
    """Return the index [B] of the class that scores highest for each clip; -1 for a clip without frames.

    As in top-1 accuracy, a clip is assigned to its own class only if that class scores strictly higher than every
    other. In a tie, the other class is returned.
    """
    target_score_B = predictions.scores_BK[np.arange(len(predictions)), predictions.target_B]
    others_BK = predictions.scores_BK.copy()
    np.put_along_axis(others_BK, predictions.target_B[:, None], -np.inf, axis=1)
    best_B = others_BK.argmax(axis=1)
    target_is_best_B = target_score_B > others_BK.max(axis=1)
    return np.where(np.isnan(target_score_B), -1, np.where(target_is_best_B, predictions.target_B, best_B))


def label_matrix(targets: list[list[int]], num_classes: int) -> np.ndarray:
    """Return which classes each clip has, bool [B, K], from the indices of its classes."""
    labels_BK = np.zeros((len(targets), num_classes), bool)
    for labels_K, indices in zip(labels_BK, targets, strict=True):
        labels_K[indices] = True
    return labels_BK


def _train_clips(metadata: dict[str, Any], labels: list[str]) -> np.ndarray | None:
    """Return the number [K] of training clips of each class; None for captions and for files of an earlier version."""
    clips = metadata.get("train_clips")
    return np.array([clips.get(label, 0) for label in labels]) if clips else None


def _groups(group: pa.ChunkedArray, clip_id: pa.ChunkedArray) -> np.ndarray | None:
    """Return the group number [R] of each row; None if no group is known. A clip without a known group is a group."""
    if group.null_count == len(group):
        return None
    known = pc.if_else(pc.is_null(group), pc.binary_join_element_wise("clip", clip_id, ":"), group)
    return pc.rank(known, tiebreaker="dense").to_numpy() - 1


def _kinds(kind: pa.ChunkedArray) -> np.ndarray | None:
    """Return the kind of motion of each clip; None if none is known."""
    return None if kind.null_count == len(kind) else np.array(pc.fill_null(kind, "").to_pylist())


def _matrix(lists: pa.ChunkedArray) -> np.ndarray:
    """Return a column of equally long lists as a float64 matrix."""
    values = lists.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(lists), -1).astype(np.float64)
