"""The value of each metric on each clip for all runs (run_outcomes.py), by comparison and row.

B clips, N rows of a comparison, S seeds.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, TypeVar

import numpy as np

from kinetext.config.run import RunSpec
from kinetext.evaluation.paired_rows import PairedRows
from kinetext.evaluation.seed_means import clip_parts
from kinetext.report.keys import Comparison, RowKey

Row = TypeVar("Row")


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
    """The outcomes of all runs by comparison, metric and row."""

    def __init__(self) -> None:
        self.measured: dict[Measured, SeedOutcomes] = {}
        self.sources: dict[str, str] = {}  # data set -> what its videos are, the same for lists of the same videos
        self._shared_ids: dict[tuple[str, ...], tuple[str, ...]] = {}

    def add(self, spec: RunSpec, outcomes: Sequence[tuple[Measured, Outcome]]) -> None:
        """Add the outcomes of a run. Runs with equal clip ids share one copy of them."""
        self.sources[spec.dataset] = _source(spec)
        key = RowKey(spec.backbone, spec.method, spec.texts)
        shared: dict[int, tuple[str, ...]] = {}  # hashing thousands of ids takes as long as all the rest
        for measured, outcome in outcomes:
            if id(outcome.clip_ids) not in shared:
                clip_ids = self._shared_ids.setdefault(outcome.clip_ids, outcome.clip_ids)
                shared[id(outcome.clip_ids)] = clip_ids
            rows = self.measured.setdefault(measured, {})
            rows.setdefault(key, []).append(outcome._replace(clip_ids=shared[id(outcome.clip_ids)]))


def _source(spec: RunSpec) -> str:
    """Return a name for the videos of a data set: the module and the folder of the videos, else the data set."""
    root = spec.dataset_options.get("options", {}).get("root")
    return f"{spec.dataset_options.get('module')}: {root}" if root else spec.dataset


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
