"""Whether clips are classified correctly, and how confident the method is. Some metrics need nothing else.

B clips, K classes.
"""

from dataclasses import dataclass, replace

import numpy as np

from kinetext.evaluation.calibration import softmax
from kinetext.evaluation.metrics.base import mean
from kinetext.evaluation.predictions import Predictions


@dataclass(frozen=True)
class Answers:
    """Whether each clip is classified correctly. `confidence_B` is the probability of the class that scores highest;
    None if it was not computed.
    """

    right_B: np.ndarray
    target_B: np.ndarray  # index of each clip's class
    labels: list[str]  # the classes
    confidence_B: np.ndarray | None = None
    group_B: np.ndarray | None = None

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.right_B)

    def take(self, rows: np.ndarray) -> "Answers":
        """Return the answers of the clips at `rows`, which may repeat."""
        columns = ("right_B", "target_B", "confidence_B", "group_B")
        taken = {name: column[rows] for name in columns if (column := getattr(self, name)) is not None}
        return replace(self, **taken)


def answers(predictions: Predictions) -> Answers:
    """Return whether each clip is classified correctly. A tie counts as wrong, as does a clip without frames."""
    return Answers(predictions.rank_B == 1, predictions.target_B, predictions.labels, group_B=predictions.group_B)


def confident_answers(predictions: Predictions, calibrated: bool) -> Answers:
    """Return the answers of the clips that have frames, with the probability of the class that scores highest.

    The probabilities are those of the run's calibration if `calibrated`, else the softmax of the scores.
    """
    known_B = ~np.isnan(predictions.scores_BK).any(axis=1)
    known = predictions if known_B.all() else predictions.take(np.flatnonzero(known_B))
    shares_BK = predictions.calibration.shares(known.scores_BK) if calibrated else softmax(known.scores_BK)
    return replace(answers(known), confidence_B=shares_BK.max(axis=1, initial=0.0))


def mean_of_classes(answers: Answers) -> float:
    """Return the accuracy averaged over the classes that have clips; NaN without clips."""
    if not len(answers):
        return float("nan")
    clips_K = np.bincount(answers.target_B)
    right_K = np.bincount(answers.target_B, weights=answers.right_B)
    return mean(right_K[clips_K > 0] / clips_K[clips_K > 0])
