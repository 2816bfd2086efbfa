"""The clips that the fewest runs classify correctly: the table `hard_clips`. B clips, R runs."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from kinetext.config.run import RunSpec
from kinetext.evaluation.predictions import Predictions, predicted_classes
from kinetext.report.keys import Comparison

NUM_HARD = 50  # clips of a comparison


class HardClips:
    """Counts over all runs how often each clip of a comparison is classified correctly, and the predicted classes."""

    def __init__(self) -> None:
        self._clips: dict[Comparison, Predictions] = {}
        self._predicted: dict[Comparison, list[np.ndarray]] = defaultdict(list)

    def add(self, spec: RunSpec, split: str, predictions: Predictions) -> None:
        """Add the predictions of a run with its frames in order. Captions and runs on other clips or classes are
        ignored.
        """
        comparison = Comparison(spec.dataset, spec.protocol, split)
        first = self._clips.setdefault(comparison, predictions)
        same = (first.clip_ids, first.labels) == (predictions.clip_ids, predictions.labels)
        if not predictions.captioned and same:
            self._predicted[comparison].append(predicted_classes(predictions).astype(np.int32))

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
                    "clip_id": (clips.clip_ids or [])[b],
                    "label": clips.labels[clips.target_B[b]],
                    "right": float(right_B[b]),
                    "runs": len(runs),
                    "predicted": None if predicted < 0 else clips.labels[predicted],
                    "predicted_runs": int(counts.max()),
                }
