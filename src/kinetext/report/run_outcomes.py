"""Read predictions.parquet of a run once, for the value of each metric on each clip.

For frames in order, also for the confusions, the predicted classes, and the risk-coverage and seen-unseen curves.

B clips, K classes, P pairs of class and predicted class.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from kinetext.config.run import RunSpec
from kinetext.core.tables import metadata_of, read_table
from kinetext.evaluation import seen_unseen
from kinetext.evaluation.answers import confident_answers
from kinetext.evaluation.calibration import selective_risk
from kinetext.evaluation.kinds import is_by_kind
from kinetext.evaluation.measure import pseudo_values
from kinetext.evaluation.predictions import PART_COLUMNS, Predictions, predicted_classes, predictions_of
from kinetext.report.hard_clips import PredictedClips
from kinetext.report.keys import Comparison, RowKey
from kinetext.report.outcomes import Measured, Outcome, joined

COVERAGES = np.arange(1, 21) / 20  # at which the risk is recorded


class RunOutcomes(NamedTuple):
    """Everything that the collected tables take from predictions.parquet of a run."""

    metadata: dict[str, Any]  # of the file
    measured: list[tuple[Measured, Outcome]]
    clips: list[tuple[Comparison, PredictedClips]]
    tables: dict[str, list[pa.Table]]  # rows of the tables `confusions` and `risk_coverage`
    seen_unseen: list[dict[str, Any]]  # rows of that table


def read_outcomes(
    spec: RunSpec,
    path: Path,
    confusables: list[dict[str, Any]],
    shared_ids: dict[tuple[str, ...], tuple[str, ...]],
) -> RunOutcomes:
    """Read a run's predictions.parquet. All lists are empty if the file is missing.

    `confusables` are rows of the table `confusables`. Without them, accuracy within confusable pairs is left out.
    `shared_ids` maps clip ids to the copy that all runs use; new ones are added.
    """
    if not path.is_file():
        return RunOutcomes({}, [], [], {}, [])
    table = read_table("predictions", path, PART_COLUMNS)
    outcomes, predicted = RunOutcomes(metadata_of(table.schema), [], [], {}, []), predictions_of(table)
    for (split, frame_order), predictions in predicted.items():
        comparison = Comparison(spec.dataset, spec.protocol, split)
        clips = _outcome(spec, predictions)
        clips = clips._replace(clip_ids=shared_ids.setdefault(clips.clip_ids, clips.clip_ids))
        for metric, value_B in pseudo_values(predictions, confusables).items():
            if frame_order == "ordered" or not is_by_kind(metric):
                outcome = clips._replace(value_B=_compact(value_B))
                outcomes.measured.append((Measured(comparison, metric, frame_order), outcome))
        if frame_order == "ordered" and not (predictions.captioned or predictions.multi_label):
            predicted_B = predicted_classes(predictions).astype(np.int32)
            predicted_clips = PredictedClips(clips.clip_ids, predictions.labels, predictions.target_B, predicted_B)
            outcomes.clips.append((comparison, predicted_clips))
            outcomes.tables.setdefault("confusions", []).append(_confusions(spec, split, predicted_clips))
            if not predictions.calibration.ranks_only:
                outcomes.tables.setdefault("risk_coverage", []).append(_risks(spec, split, predictions))
    for frame_order, seen, unseen, novel in seen_unseen.both_splits(predicted):
        limit = seen_unseen.limits(seen, unseen, novel)
        value_B = np.concatenate(seen_unseen.pseudo_values(limit))
        base, other = (_outcome(spec, part) for part in (seen, unseen))
        comparison = Comparison(spec.dataset, spec.protocol, seen_unseen.UNSEEN)
        outcome = joined(base, other, value_B)._replace(seed=spec.seed)
        outcomes.measured.append((Measured(comparison, "ausuc", frame_order), outcome))
        if frame_order == "ordered":
            columns = {column: getattr(spec, column) for column in ("dataset", "protocol", *RowKey._fields, "seed")}
            outcomes.seen_unseen.extend(columns | point for point in seen_unseen.curve(limit))
    return outcomes


def _outcome(spec: RunSpec, predictions: Predictions) -> Outcome:
    """Return the outcome of a run without values."""
    clip_ids, untrained = tuple(predictions.clip_ids or ()), predictions.untrained
    return Outcome(clip_ids, np.zeros(0), predictions.group_B, untrained=untrained, seed=spec.seed)


def _compact(value_B: np.ndarray) -> np.ndarray:
    """Return the values as booleans (one byte each) if all are 0 or 1, as half floats if these are equal, else unchanged."""
    if bool(((value_B == 0) | (value_B == 1)).all()):
        return value_B.astype(bool)
    with np.errstate(over="ignore"):
        half_B = value_B.astype(np.float16)
    return half_B if np.array_equal(half_B, value_B, equal_nan=True) else value_B


def _confusions(spec: RunSpec, split: str, clips: PredictedClips) -> pa.Table:
    """Return rows of the table `confusions`: the number of clips for each pair of class and predicted class."""
    K = len(clips.labels)
    pair_B = clips.target_B.astype(np.int64) * (K + 1) + clips.predicted_B + 1  # 0: no frames
    pairs, clips_P = np.unique(pair_B, return_counts=True)
    names = pa.array([None, *clips.labels], pa.string())
    return pa.table(
        {
            **_constant(spec, split, len(pairs)),
            "label": names.take(pa.array(pairs // (K + 1) + 1)),
            "predicted": names.take(pa.array(pairs % (K + 1))),
            "clips": clips_P,
        }
    )


def _risks(spec: RunSpec, split: str, predictions: Predictions) -> pa.Table:
    """Return rows of the table `risk_coverage`: the risk-coverage curve at COVERAGES."""
    known = confident_answers(predictions, predictions.calibration.fitted)
    assert known.confidence_B is not None
    count = len(known)
    index = np.maximum(np.ceil(COVERAGES * count).astype(int) - 1, 0) if count else np.zeros(0, int)
    return pa.table(
        {
            **_constant(spec, split, len(index)),
            "coverage": (index + 1) / max(1, count),
            "risk": selective_risk(known.confidence_B, known.right_B)[index],
            "confidence": -np.sort(-known.confidence_B)[index],
        }
    )


def _constant(spec: RunSpec, split: str, rows: int) -> dict[str, Any]:
    """Return the columns that identify a run and a split, with the same values in all rows."""
    names = ("dataset", "protocol", "backbone", "method", "texts", "seed")
    return {**{name: pa.repeat(getattr(spec, name), rows) for name in names}, "split": pa.repeat(split, rows)}
