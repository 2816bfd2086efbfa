"""The clips that the fewest runs classify correctly: the table `hard_clips`. B clips, R runs."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from kinetext.report.keys import Comparison

NUM_HARD = 50  # clips of a comparison


class PredictedClips(NamedTuple):
    """The clips of a comparison, and the classes that a run predicts for them."""

    clip_ids: tuple[str, ...]
    labels: list[str]
    target_B: np.ndarray
    predicted_B: np.ndarray  # -1: a clip without frames


class HardClips:
    """Counts over all runs how often each clip of a comparison is classified correctly, and the predicted classes."""

    def __init__(self) -> None:
        self._clips: dict[Comparison, PredictedClips] = {}
        self._predicted: dict[Comparison, list[np.ndarray]] = defaultdict(list)

    def add(self, comparison: Comparison, clips: PredictedClips) -> None:
        """Add the predictions of a run with its frames in order. Runs on other clips or classes are ignored."""
        first = self._clips.setdefault(comparison, clips)
        if (first.clip_ids, first.labels) == (clips.clip_ids, clips.labels):
            self._predicted[comparison].append(clips.predicted_B)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield rows of the table `hard_clips`: clips that the fewest runs get right, with the most frequent wrong
        class.
        """
        for comparison, runs in self._predicted.items():
            clips, predicted_RB = self._clips[comparison], np.stack(runs)
            right_B = (predicted_RB == clips.target_B).mean(axis=0)
            for b in np.argsort(right_B, kind="stable")[:NUM_HARD]:
                wrong = predicted_RB[predicted_RB[:, b] != clips.target_B[b], b]
                if not len(wrong):
                    break
                classes, counts = np.unique(wrong, return_counts=True)
                predicted = int(classes[counts.argmax()])
                yield {
                    **comparison._asdict(),
                    "clip_id": clips.clip_ids[b],
                    "label": clips.labels[clips.target_B[b]],
                    "right": float(right_B[b]),
                    "runs": len(runs),
                    "predicted": None if predicted < 0 else clips.labels[predicted],
                    "predicted_runs": int(counts.max()),
                }
