"""Average precision of clips with several labels each, as scikit-learn defines it (without interpolation).

B clips, K classes, P pairs of a clip and one of its classes.
"""

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class SortedScores:
    """The clips sorted by score for each class, highest first. A bootstrap draw only changes the weights of clips."""

    order_KB: np.ndarray  # clips
    right_KB: np.ndarray  # whether these clips have the class
    end_KB: np.ndarray  # place of the last clip with the same score
    weight_B: np.ndarray  # how often each clip counts
    group_B: np.ndarray | None = None

    def __len__(self) -> int:
        """Return the number of clips."""
        return int(self.weight_B.sum())

    def take(self, rows: np.ndarray) -> "SortedScores":
        """Return the sample of the clips at `rows`, which may repeat, as new weights of the clips."""
        clips = np.repeat(np.arange(len(self.weight_B)), self.weight_B)[rows]
        return replace(self, weight_B=np.bincount(clips, minlength=len(self.weight_B)), group_B=None)

    def precisions(self) -> np.ndarray:
        """Return the average precision [K] of each class; NaN for a class without clips.

        It is the sum over thresholds of precision times gain in recall. This equals the mean over the clips of a class
        of the precision at the score of the clip. Clips with equal scores pass a threshold together.
        """
        K = len(self.order_KB)
        weight_KB = self.weight_B[self.order_KB]
        above_KB = weight_KB.cumsum(1)
        right_above_KB = (weight_KB * self.right_KB).cumsum(1)
        class_P, index_P = self.right_KB.nonzero()
        end_P, weight_P = self.end_KB[class_P, index_P], weight_KB[class_P, index_P]
        precision_P = right_above_KB[class_P, end_P] / np.maximum(above_KB[class_P, end_P], 1)
        clips_K = np.bincount(class_P, weight_P, K)
        return np.bincount(class_P, weight_P * precision_P, K) / np.where(clips_K > 0, clips_K, np.nan)

    def mean(self) -> float:
        """Return the mean average precision over the classes that have clips; NaN if no class has one."""
        value_K = self.precisions()
        value_K = value_K[~np.isnan(value_K)]
        return float(value_K.mean()) if len(value_K) else float("nan")


def sort_scores(scores_BK: np.ndarray, labels_BK: np.ndarray, group_B: np.ndarray | None = None) -> SortedScores:
    """Return the clips sorted by score for each class. Clips without frames (NaN) are sorted last."""
    scores_KB = np.where(np.isnan(scores_BK), -np.inf, scores_BK).T
    order_KB = np.argsort(-scores_KB, axis=1, kind="stable")
    sorted_KB = np.take_along_axis(scores_KB, order_KB, axis=1)
    right_KB = np.take_along_axis(labels_BK.T, order_KB, axis=1)
    return SortedScores(order_KB, right_KB, last_equal(sorted_KB), np.ones(len(scores_BK), int), group_B)


def last_equal(sorted_NM: np.ndarray) -> np.ndarray:
    """Return, for each element of the sorted rows, the index [N, M] of the last equal element in its row."""
    N, M = sorted_NM.shape
    last_NM = np.concatenate([sorted_NM[:, 1:] != sorted_NM[:, :-1], np.ones((N, min(M, 1)), bool)], axis=1)
    index_NM = np.where(last_NM, np.arange(M), M)
    return np.minimum.accumulate(index_NM[:, ::-1], axis=1)[:, ::-1]


def mean_average_precision(scores_BK: np.ndarray, labels_BK: np.ndarray) -> float:
    """Return the mean average precision over the classes that have clips; NaN if no class has one."""
    return sort_scores(scores_BK, labels_BK).mean()


def chance_precisions(count_R: np.ndarray, items: int) -> np.ndarray:
    """Return the expected average precision [R] of random rankings of `items` items with `count_R` relevant ones.

    If the item at rank i is relevant, 1 + (count - 1) (i - 1) / (items - 1) of the first i items are expected to be
    relevant. NaN if no item is relevant.
    """
    mean_inverse = float((1 / np.arange(1, items + 1)).mean()) if items else 1.0
    others_R = (count_R - 1) / max(1, items - 1)
    return np.where(count_R > 0, mean_inverse + others_R * (1 - mean_inverse), np.nan)


def ranking_precisions(scores_BK: np.ndarray, labels_BK: np.ndarray) -> np.ndarray:
    """Return the label ranking average precision [B] of each clip; NaN for a clip without labels.

    For each label of a clip, take the classes that score at least as high, and compute which fraction of them are
    labels of the clip. The result is the mean of these fractions. All classes of a clip without frames count as tied.
    """
    scores_BK = np.where(np.isnan(scores_BK), 0.0, scores_BK)
    order_BK = np.argsort(-scores_BK, axis=1, kind="stable")
    sorted_BK = np.take_along_axis(scores_BK, order_BK, axis=1)
    right_BK = np.take_along_axis(labels_BK, order_BK, axis=1)
    last_index_BK = last_equal(sorted_BK)  # among equal scores, all count as above
    right_above_BK = np.take_along_axis(np.cumsum(right_BK, axis=1), last_index_BK, axis=1)
    count_B = labels_BK.sum(axis=1)
    share_B = (right_above_BK / (last_index_BK + 1) * right_BK).sum(axis=1)
    return share_B / np.where(count_B > 0, count_B, np.nan)
