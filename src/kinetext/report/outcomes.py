"""Read predictions.parquet of every run once: the value of each metric on each clip, and the predicted classes.

B clips, K classes, N rows of a comparison, S seeds.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa

from kinetext.config.run import RunSpec
from kinetext.core.tables import read_metadata, read_rows
from kinetext.evaluation import seen_unseen
from kinetext.evaluation.answers import confident_answers
from kinetext.evaluation.calibration import selective_risk
from kinetext.evaluation.kinds import is_by_kind
from kinetext.evaluation.measure import pseudo_values
from kinetext.evaluation.paired_rows import PairedRows
from kinetext.evaluation.predictions import Predictions, predicted_classes, read_predictions
from kinetext.evaluation.seed_means import clip_parts
from kinetext.report.hard_clips import HardClips
from kinetext.report.keys import Comparison, RowKey

Row = TypeVar("Row")
COVERAGES = np.arange(1, 21) / 20  # at which the risk is recorded


class Outcome(NamedTuple):
    """The values of a metric on each clip for one seed."""

    clip_ids: tuple[str, ...]
    value_B: np.ndarray  # pseudo-values, whose mean is the metric; NaN: the clip is left out
    group_B: np.ndarray | None = None  # index of each clip's group, the same in all splits of a run; None: one per clip
    seeds: int = 1  # averaged in it, of a draw of few-shot clips
    untrained: bool = False  # nothing was trained, so that every seed has the same values
    seed: int = 0


class Measured(NamedTuple):
    """A metric of a comparison in one frame order."""

    comparison: Comparison
    metric: str
    frame_order: str


SeedOutcomes = dict[RowKey, list[Outcome]]  # row of a comparison -> its seeds


class Outcomes:
    """The outcomes of all runs by comparison, metric and row.

    For frames in order, it also has the confusions, the hard clips, and the risk-coverage and seen-unseen curves.
    """

    def __init__(self) -> None:
        self.measured: dict[Measured, SeedOutcomes] = {}
        self.confusions: list[pa.Table] = []
        self.hard_clips = HardClips()
        self.risks: list[pa.Table] = []
        self.curves: list[dict[str, Any]] = []  # rows of the table `seen_unseen`
        self.sources: dict[str, str] = {}  # data set -> what its videos are, the same for lists of the same videos
        self._shared_ids: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._confusables: dict[Path, list[dict[str, Any]]] = {}

    def add(self, spec: RunSpec, path: Path, confusables: Path) -> dict[str, Any]:
        """Add a run's predictions if the file `path` exists; return the metadata of the file.

        Accuracy within confusable pairs is left out if the file `confusables` is missing.
        """
        if not path.is_file():
            return {}
        if confusables not in self._confusables:
            self._confusables[confusables] = read_rows("confusables", confusables) if confusables.is_file() else []
        self.sources[spec.dataset] = _source(spec)
        key, predicted = RowKey(spec.backbone, spec.method, spec.texts), read_predictions(path)
        for (split, frame_order), predictions in predicted.items():
            address = Measured(Comparison(spec.dataset, spec.protocol, split), "", frame_order)
            clips = self._outcome(predictions, predictions.target_B)._replace(seed=spec.seed)
            for metric, value_B in pseudo_values(predictions, self._confusables[confusables]).items():
                if frame_order != "ordered" and is_by_kind(metric):
                    continue
                self._add(address._replace(metric=metric), key, clips._replace(value_B=_compact(value_B)))
            if frame_order == "ordered" and not (predictions.captioned or predictions.multi_label):
                self.confusions.append(_confusions(spec, split, predictions))
                self.hard_clips.add(spec, split, predictions)
                if not predictions.calibration.ranks_only:
                    self.risks.append(_risks(spec, split, predictions))
        for frame_order, seen, unseen, novel in seen_unseen.both_splits(predicted):
            limit = seen_unseen.limits(seen, unseen, novel)
            value_B = np.concatenate(seen_unseen.pseudo_values(limit))
            base, other = (self._outcome(part, part.target_B) for part in (seen, unseen))
            address = Measured(Comparison(spec.dataset, spec.protocol, seen_unseen.UNSEEN), "ausuc", frame_order)
            self._add(address, key, joined(base, other, value_B)._replace(seed=spec.seed))
            if frame_order == "ordered":
                columns = {column: getattr(spec, column) for column in ("dataset", "protocol", *RowKey._fields, "seed")}
                self.curves += [columns | point for point in seen_unseen.curve(limit)]
        return read_metadata(path)

    def _outcome(self, predictions: Predictions, value_B: np.ndarray) -> Outcome:
        """Return the outcome of a run. Runs with equal clip ids share one copy of them."""
        clip_ids = tuple(predictions.clip_ids or ())
        clip_ids = self._shared_ids.setdefault(clip_ids, clip_ids)
        return Outcome(clip_ids, _compact(value_B), predictions.group_B, untrained=predictions.untrained)

    def _add(self, address: Measured, key: RowKey, outcome: Outcome) -> None:
        self.measured.setdefault(address, {}).setdefault(key, []).append(outcome)


def _source(spec: RunSpec) -> str:
    """Return a name for the videos of a data set: the module and the folder of the videos, else the data set."""
    root = spec.dataset_options.get("options", {}).get("root")
    return f"{spec.dataset_options.get('module')}: {root}" if root else spec.dataset


def _compact(value_B: np.ndarray) -> np.ndarray:
    """Return the values as booleans (one byte each) if all are 0 or 1, as half floats if these are equal, else unchanged."""
    if bool(((value_B == 0) | (value_B == 1)).all()):
        return value_B.astype(bool)
    with np.errstate(over="ignore"):
        half_B = value_B.astype(np.float16)
    return half_B if np.array_equal(half_B, value_B, equal_nan=True) else value_B


def _confusions(spec: RunSpec, split: str, predictions: Predictions) -> pa.Table:
    """Return rows of the table `confusions`: the number of clips for each pair of class and predicted class."""
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
    """Return the columns that identify a run and a split, with the same values in all rows."""
    names = ("dataset", "protocol", "backbone", "method", "texts", "seed")
    return {**{name: pa.repeat(getattr(spec, name), rows) for name in names}, "split": pa.repeat(split, rows)}


def joined(base: Outcome, novel: Outcome, value_B: np.ndarray) -> Outcome:
    """Return the outcome of a metric on the clips of two splits of one run. A group with clips in both counts once."""
    known = base.group_B is not None and novel.group_B is not None
    group_B = np.concatenate([base.group_B, novel.group_B]) if known else None
    seeds = min(base.seeds, novel.seeds)
    return Outcome(_joined_ids(base.clip_ids, novel.clip_ids), value_B, group_B, seeds, base.untrained)


@lru_cache(maxsize=64)  # one copy for all rows
def _joined_ids(base: tuple[str, ...], novel: tuple[str, ...]) -> tuple[str, ...]:
    return (*(f"base:{clip}" for clip in base), *(f"novel:{clip}" for clip in novel))


def aligned(seeds: list[Outcome]) -> tuple[tuple[str, ...], np.ndarray, np.ndarray | None]:
    """Return the ids of the clips that all seeds of a row have, their values [S, B], and their groups [B] or None."""
    first = seeds[0]
    if all(seed.clip_ids is first.clip_ids for seed in seeds):
        return first.clip_ids, np.stack([seed.value_B for seed in seeds]).astype(float), first.group_B
    common = set.intersection(*(set(seed.clip_ids) for seed in seeds))
    indices = [sorted_indices(seed.clip_ids, common) for seed in seeds]
    value_SB = np.stack([seed.value_B[index].astype(float) for seed, index in zip(seeds, indices, strict=True)])
    return tuple(sorted(common)), value_SB, None if first.group_B is None else first.group_B[indices[0]]


def sorted_indices(clip_ids: tuple[str, ...], common: set[str]) -> np.ndarray:
    """Return the indices of the clips that are in `common`, sorted by clip_id."""
    return np.array([b for _, b in sorted((clip, b) for b, clip in enumerate(clip_ids) if clip in common)], int)


def paired_rows(rows: dict[Row, list[Outcome]], keys: list[Row]) -> PairedRows:
    """Return the rows on the clips that all of them have, sorted by clip_id. Clips with NaN values are left out."""
    id_lists = {id(seed.clip_ids): seed.clip_ids for key in keys for seed in rows[key]}
    common = set.intersection(*map(set, id_lists.values()))
    indices = {address: sorted_indices(clip_ids, common) for address, clip_ids in id_lists.items()}
    values = [np.stack([seed.value_B[indices[id(seed.clip_ids)]].astype(float) for seed in rows[key]]) for key in keys]
    keep_B = ~np.isnan(np.concatenate(values)).any(axis=0)
    first = rows[keys[0]][0]
    group_B = None if first.group_B is None else first.group_B[indices[id(first.clip_ids)]][keep_B]
    values = [value_SB[:, keep_B] for value_SB in values]
    return PairedRows(
        np.stack([value_SB.mean(axis=0) for value_SB in values], axis=1),
        group_B,
        [value_SB.mean(axis=1).tolist() if value_SB.size else [] for value_SB in values],
        np.array([bool((value_SB != value_SB[0]).any()) for value_SB in values]),
        np.array([clip_parts(value_SB, group_B).interaction for value_SB in values]),
        [clip for clip, keep in zip(sorted(common), keep_B.tolist(), strict=True) if keep],
        np.array([rows[key][0].untrained for key in keys]),
    )
