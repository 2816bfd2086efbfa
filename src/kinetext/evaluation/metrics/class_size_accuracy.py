"""Accuracy on head, middle or tail classes, which have many, some or few training clips (long-tailed recognition)."""

from typing import Any, Literal

import numpy as np
from pydantic import Field

from kinetext.core.plugins import Options
from kinetext.evaluation.answers import Answers, answers, mean_of_classes
from kinetext.evaluation.class_sizes import size_groups
from kinetext.evaluation.metrics.base import Metric, Rivals
from kinetext.evaluation.predictions import Predictions


class ClassSizeAccuracy(Metric):
    """Mean of the top-1 accuracies of the head, middle or tail classes (class_sizes.py), as in Liu et al. (CVPR 2019).

    Not measured if the numbers of training clips are unknown or the group has no classes (see `size_groups`).
    """

    class Config(Options):
        """Options of the metric."""

        group: Literal["head", "middle", "tail"] = Field("head", description="classes with many, medium or few clips")

    ordered_only = True

    def chance(self, sample: Any) -> float:
        return 1 / len(sample.labels)

    def prepare(self, predictions: Predictions) -> Answers | None:
        if predictions.train_clips_K is None:
            return None
        groups = size_groups(predictions.train_clips_K)
        if self.config.group not in groups:
            return None
        return answers(predictions).take(np.flatnonzero(groups[self.config.group][predictions.target_B]))

    def measure(self, sample: Any, rivals: Rivals | None = None) -> float:
        prepared = sample if isinstance(sample, Answers) else self.prepare(sample)
        return float("nan") if prepared is None else mean_of_classes(prepared)
