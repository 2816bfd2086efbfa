"""Read predictions.parquet of every run once: the main metric of each clip, and which class it was predicted as.

B clips, K classes, N rows of a comparison.
"""

from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa

from kinetext.config.run import RunSpec
from kinetext.core.tables import read_metadata
from kinetext.evaluation.answers import confident_answers
from kinetext.evaluation.calibration import selective_risk
from kinetext.evaluation.measure import main_values
from kinetext.evaluation.paired import PairedRows
from kinetext.evaluation.predictions import Predictions, predicted_classes, read_predictions
from kinetext.report.hard_clips import HardClips
from kinetext.report.keys import Comparison, RowKey

Row = TypeVar("Row")
COVERAGES = np.arange(1, 21) / 20  # at which the risk is recorded


class Outcome(NamedTuple):
    """The main metric of one seed on each clip."""

    clip_ids: tuple[str, ...]
    value_B: np.ndarray
    group_B: np.ndarray | None = None  # number of each clip's group; None: each clip is its own


SeedOutcomes = dict[RowKey, list[Outcome]]  # row of a comparison -> its seeds


class Outcomes:
    """The outcomes of all runs by comparison, main metric and row, and their confusions; frames in order."""

    def __init__(self) -> None:
        self.comparisons: dict[tuple[Comparison, str], SeedOutcomes] = {}
        self.confusions: list[pa.Table] = []
        self.hard_clips = HardClips()
        self.risks: list[pa.Table] = []
        self._shared_ids: dict[tuple[str, ...], tuple[str, ...]] = {}

    def add(self, spec: RunSpec, path: Path) -> dict[str, Any]:
        """Add a run's predictions if the file exists; return the file's metadata."""
        if not path.is_file():
            return {}
        for (split, _), predictions in read_predictions(path, frame_order="ordered").items():
            metric, value_B = next(iter(main_values(predictions).items()))
            clip_ids = tuple(predictions.clip_ids or ())
            clip_ids = self._shared_ids.setdefault(clip_ids, clip_ids)  # one copy for all runs of a data set
            comparison = Comparison(spec.dataset, spec.protocol, split)
            key = RowKey(spec.backbone, spec.method, spec.texts)
            rows = self.comparisons.setdefault((comparison, metric), {})
            rows.setdefault(key, []).append(Outcome(clip_ids, value_B, predictions.group_B))
            if not (predictions.captioned or predictions.multi_label):
                self.confusions.append(_confusions(spec, split, predictions))
                self.hard_clips.add(spec, split, predictions)
                self.risks.append(_risks(spec, split, predictions))
        return read_metadata(path)


def _confusions(spec: RunSpec, split: str, predictions: Predictions) -> pa.Table:
    """Return rows of the table `confusions`: the number of clips of each pair of a class and a predicted class."""
    K = len(predictions.labels)
    pair_B = predictions.target_B.astype(np.int64) * (K + 1) + predicted_classes(predictions) + 1  # 0: no frames
    pairs, clips = np.unique(pair_B, return_counts=True)
    names = pa.array([None, *predictions.labels], pa.string())
    return pa.table(
        {
            **_constant(spec, split, len(pairs)),
            "label": names.take(pa.array(pairs // (K + 1) + 1)),
            "predicted": names.take(pa.array(pairs % (K + 1))),
            "clips": clips,
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
    """Return the columns that identify a run and its split, the same in all rows."""
    names = ("dataset", "protocol", "backbone", "method", "texts", "seed")
    return {**{name: pa.repeat(getattr(spec, name), rows) for name in names}, "split": pa.repeat(split, rows)}


def paired_rows(rows: dict[Row, list[Outcome]], keys: list[Row]) -> PairedRows:
    """Return rows on the clips that all of them have, sorted by clip_id."""
    id_lists = {id(seed.clip_ids): seed.clip_ids for key in keys for seed in rows[key]}
    common = set.intersection(*map(set, id_lists.values()))
    indices = {
        address: np.array([b for _, b in sorted((clip, b) for b, clip in enumerate(clip_ids) if clip in common)], int)
        for address, clip_ids in id_lists.items()
    }
    columns, seed_values, trained = [], [], []
    for key in keys:
        value_SB = np.stack([seed.value_B[indices[id(seed.clip_ids)]] for seed in rows[key]])
        columns.append(value_SB.mean(axis=0))
        seed_values.append(value_SB.mean(axis=1).tolist() if value_SB.size else [])
        trained.append(bool((value_SB != value_SB[0]).any()))
    first = rows[keys[0]][0]
    group_B = None if first.group_B is None else first.group_B[indices[id(first.clip_ids)]]
    return PairedRows(np.stack(columns, axis=1), group_B, seed_values, np.array(trained))
