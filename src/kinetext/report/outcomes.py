"""What predictions.parquet of every run says clip by clip, frames in order: whether the clip was right, and which class it
was taken for. Read once a run, and never in a loop over clips.

B clips, K classes.
"""

from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa

from kinetext.config.run import RunSpec
from kinetext.core.tables import read_metadata
from kinetext.evaluation.measure import main_values
from kinetext.evaluation.predictions import Predictions, predicted_classes, read_predictions

Place = tuple[str, str, str, str]  # dataset, protocol, split, metric
Row = TypeVar("Row")


class Key(NamedTuple):
    """A row of a comparison."""

    backbone: str
    method: str
    texts: str

    @property
    def backbone_method(self) -> tuple[str, str]:
        """What rows that differ in their texts alone have in common."""
        return self.backbone, self.method


class Outcome(NamedTuple):
    """The main metric of one seed on each clip."""

    clips: tuple[str, ...]
    value_B: np.ndarray


class Outcomes:
    """Those of all runs, put together by comparison and row."""

    def __init__(self) -> None:
        self.comparisons: dict[Place, dict[Key, list[Outcome]]] = {}
        self.confusions: list[pa.Table] = []
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}

    def add(self, spec: RunSpec, path: Path) -> float | None:
        """Take a run's predictions, if there are any; how many clips it predicted a second."""
        if not path.is_file():
            return None
        for (split, _), made in read_predictions(path, frame_order="ordered").items():
            metric, value_B = next(iter(main_values(made).items()))
            clips = tuple(made.clip_ids or ())
            clips = self._names.setdefault(clips, clips)  # runs of a data set share one copy of the names
            rows = self.comparisons.setdefault((spec.dataset, spec.protocol, split, metric), {})
            rows.setdefault(Key(spec.backbone, spec.method, spec.texts), []).append(Outcome(clips, value_B))
            if not made.captioned:
                self.confusions.append(_confusions(spec, split, made))
        return read_metadata(path).get("predict_clips_per_s")


def _confusions(spec: RunSpec, split: str, made: Predictions) -> pa.Table:
    """Rows of the table `confusions`: a pair of classes, and of how many clips."""
    K = len(made.labels)
    pair_B = made.target_B.astype(np.int64) * (K + 1) + predicted_classes(made) + 1  # 0: no frames
    pairs, clips = np.unique(pair_B, return_counts=True)
    names = pa.array([None, *made.labels], pa.string())
    about: dict[str, Any] = {"dataset": spec.dataset, "split": split, "protocol": spec.protocol, "method": spec.method}
    about |= {"backbone": spec.backbone, "texts": spec.texts, "seed": spec.seed}
    return pa.table(
        {
            **{name: pa.repeat(value, len(pairs)) for name, value in about.items()},
            "label": names.take(pa.array(pairs // (K + 1) + 1)),
            "predicted": names.take(pa.array(pairs % (K + 1))),
            "clips": clips,
        }
    )


def value_matrix(rows: dict[Row, list[Outcome]], keys: list[Row]) -> np.ndarray:
    """The values of some rows on the clips that all of them have, in the order of the clips' names, averaged over seeds,
    value_BN.
    """
    lists = {id(seed.clips): seed.clips for key in keys for seed in rows[key]}
    common = set.intersection(*map(set, lists.values()))
    places = {
        at: np.array([b for _, b in sorted((clip, b) for b, clip in enumerate(clips) if clip in common)], int)
        for at, clips in lists.items()
    }
    columns = [np.mean([seed.value_B[places[id(seed.clips)]] for seed in rows[key]], axis=0) for key in keys]
    return np.stack(columns, axis=1)
