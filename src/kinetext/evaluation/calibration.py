"""Calibrated probabilities: temperature scaling fitted on validation clips.

The probability of a class (column `share`) is the softmax of the scores divided by a temperature. The temperature
minimises the negative log-likelihood of the classes of the validation clips (Guo et al., ICML 2017). It does not change
the order of the classes, and so no accuracy. The novel and the unseen classes of a protocol have no validation clips.
They use the temperature of the other classes, which need not calibrate them.

If clips have several labels, the probability of a label is the sigmoid of score / temperature - offset. Both parameters
minimise the negative log-likelihood over all pairs of a validation clip and a label (Platt 1999, without his prior).

All computations are in float64. B clips, K classes.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

MIN_TEMPERATURE, MAX_TEMPERATURE = 1e-3, 1e3
STEPS = 50  # bisections of the logarithm of the temperature, to 1e-14 of it


@dataclass(frozen=True)
class Calibration:
    """How scores become probabilities, with the number of validation clips used, or the reason for using none."""

    temperature: float = 1.0
    clips: int = 0
    reason: str | None = None  # why the shares are not calibrated; None: they are
    offset: float = 0.0  # subtracted from the log-odds of a label
    odds: bool = False  # whether a clip may have several labels, each with a share of its own
    ranks_only: bool = False  # whether scores only rank the labels, so that no confidence can be computed

    def shares(self, scores_BK: np.ndarray) -> np.ndarray:
        """Return the probability [B, K] of each class; NaN for a clip without frames."""
        if self.odds:
            return sigmoid(scores_BK / self.temperature - self.offset)
        return softmax(scores_BK / self.temperature)

    @property
    def fitted(self) -> bool:
        """Return whether the probabilities were fitted on validation clips."""
        return self.reason is None

    def document(self) -> dict[str, Any]:
        """Return plain values for the metadata of a file; `read_calibration` converts them back."""
        return asdict(self)

    def sentence(self) -> str:
        """Return a sentence that states whether the probabilities are calibrated."""
        if self.reason is not None:
            return f"shares are not calibrated: {self.reason}"
        return f"shares are calibrated on {self.clips} validation clips (temperature {self.temperature:.3g})"


NO_CLIPS = Calibration(reason="the run has no validation clips")
CAPTIONS = Calibration(reason="a caption's share depends on the other captions")
ANSWERS = Calibration(reason="the method states which class it chooses, and no probability", ranks_only=True)
UNKNOWN = Calibration(reason="the predictions are of an earlier version; run `snakemake` again")


def read_calibration(document: dict[str, Any] | None) -> Calibration:
    """Return the calibration in the metadata of predictions.parquet; UNKNOWN if an earlier version wrote none."""
    return UNKNOWN if document is None else Calibration(**document)


def softmax(scores_BK: np.ndarray) -> np.ndarray:
    """Return the softmax of each row."""
    weight_BK = np.exp(scores_BK - scores_BK.max(axis=1, keepdims=True))
    return weight_BK / weight_BK.sum(axis=1, keepdims=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return the probability of a label from its log-odds."""
    return 0.5 * (1 + np.tanh(0.5 * logits))


def fit_temperature(scores_BK: np.ndarray, target_B: np.ndarray) -> Calibration:
    """Return the temperature that minimises the negative log-likelihood of the targets. Rows of NaN are left out.

    The negative log-likelihood is convex in the inverse temperature, so bisection finds the zero of its derivative. The
    derivative is the mean over clips of the expected score minus the score of the target. There is no minimum if the
    target of every clip scores highest (a lower temperature is always better) or if the scores are no better than
    chance (a higher temperature is always better). The result then has a `reason` instead.
    """
    known_B = ~np.isnan(scores_BK).any(axis=1)
    scores_BK, target_B = scores_BK[known_B].astype(np.float64), target_B[known_B]
    if not len(target_B):
        return NO_CLIPS
    gap_BK = scores_BK - np.take_along_axis(scores_BK, target_B[:, None], axis=1)  # to the own class

    def slope(inverse: float) -> float:
        return float((softmax(inverse * gap_BK) * gap_BK).sum(axis=1).mean())

    low, high = np.log(1 / MAX_TEMPERATURE), np.log(1 / MIN_TEMPERATURE)
    if slope(float(np.exp(low))) >= 0:
        return Calibration(reason=f"on the {len(target_B)} validation clips the scores are no better than chance")
    if slope(float(np.exp(high))) <= 0:
        return Calibration(reason=f"all {len(target_B)} validation clips are classified correctly")
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(float(np.exp(middle))) < 0 else (low, middle)
    return Calibration(temperature=float(np.exp(-(low + high) / 2)), clips=len(target_B))


def fit_odds(scores_BK: np.ndarray, labels_BK: np.ndarray) -> Calibration:
    """Return the temperature and offset that minimise the negative log-likelihood of the labels.

    Rows of NaN are left out. Newton's method converges because the negative log-likelihood is convex. There is no
    minimum if one threshold separates the scores of all labels that clips have from all other scores. The result then
    has a `reason` instead.
    """
    known_B = ~np.isnan(scores_BK).any(axis=1)
    score_P, label_P = scores_BK[known_B].astype(np.float64).ravel(), labels_BK[known_B].ravel().astype(np.float64)
    clips = int(known_B.sum())
    none = Calibration(odds=True, reason=NO_CLIPS.reason)
    if not clips or not 0 < label_P.mean() < 1:
        return none
    if score_P[label_P == 1].min() > score_P[label_P == 0].max():
        return replace(none, reason=f"all labels of the {clips} validation clips are found without an error")
    mean, spread = score_P.mean(), score_P.std() or 1.0
    columns_P2 = np.stack([(score_P - mean) / spread, np.ones_like(score_P)], axis=1)
    weight_2 = np.array([0.0, np.log(label_P.mean() / (1 - label_P.mean()))])
    for _ in range(STEPS):
        share_P = sigmoid(columns_P2 @ weight_2)
        curvature_P = np.maximum(share_P * (1 - share_P), 1e-12)
        step_2 = np.linalg.solve(
            columns_P2.T @ (columns_P2 * curvature_P[:, None]) + 1e-12 * np.eye(2), columns_P2.T @ (share_P - label_P)
        )
        weight_2 = weight_2 - step_2 * min(1.0, 4.0 / max(1e-12, float(np.abs(step_2).max())))
    slope, intercept = float(weight_2[0] / spread), float(weight_2[1] - weight_2[0] * mean / spread)
    if slope <= 0:
        return replace(none, reason=f"on the {clips} validation clips the scores are no better than chance")
    return Calibration(temperature=1 / slope, clips=clips, offset=-intercept, odds=True)


def expected_error(confidence_B: np.ndarray, right_B: np.ndarray, bins: int) -> float:
    """Return the expected calibration error of equal-width bins (Guo et al., ICML 2017); NaN without clips.

    It is the mean over clips of the absolute difference between the accuracy and the mean confidence of the clip's bin.
    It is never negative, so it is too high on average if bins hold few clips.
    """
    if not len(confidence_B):
        return float("nan")
    bin_B = np.clip(np.ceil(confidence_B * bins).astype(int) - 1, 0, bins - 1)
    return float(np.abs(np.bincount(bin_B, weights=confidence_B - right_B)).sum()) / len(confidence_B)


def selective_risk(confidence_B: np.ndarray, right_B: np.ndarray) -> np.ndarray:
    """Return the error rate [B] among the n most confident clips, n = 1 to B. This is the risk at coverage n / B.

    A classifier that may abstain answers only the clips above a threshold of confidence (Geifman and El-Yaniv, NeurIPS
    2017). Clips with equal confidence have no order, so each of them counts with the mean error of all of them.
    """
    _, tie_B, count = np.unique(-confidence_B, return_inverse=True, return_counts=True)
    wrong_of_tie = np.bincount(tie_B, weights=1.0 - right_B) / count
    wrong_B = np.repeat(wrong_of_tie, count)
    return np.cumsum(wrong_B) / np.arange(1, len(wrong_B) + 1)
