"""Confusion of classes on their training clips, by a linear classifier on frame-averaged features.

B clips, D joint width, K classes.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


def confusion_scores(
    features_BD: np.ndarray,
    target_B: np.ndarray,
    num_classes: int,
    folds: int,
    group_B: list[str] | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Return how easily a linear classifier confuses two classes: float64 [K, K], symmetric, 0 to 1, zero diagonal.

    Each clip is scored by a classifier that has seen neither the clip nor another clip of its group (of the same source
    video; without groups, and in a class with only one group, every clip is its own group). The predicted probabilities
    are averaged over the clips of a class: this soft confusion matrix is informative from a few clips on, where counts
    of errors are not. Every row sums to 1; then the matrix is averaged with its transpose and its diagonal set to zero.
    Classes with fewer than 2 clips get zeros; a clip whose class is absent from the other folds is not counted.

    Logistic regression is fitted to probabilities and works from one clip per class on, where discriminant analysis has
    no covariance. 30 steps are enough for the order of the rivals: 700 classes of 50 clips with 512 features take two
    and a half minutes on one core.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scores_KK = np.zeros((num_classes, num_classes))
    count_K = np.bincount(target_B, minlength=num_classes)
    keep_B = count_K[target_B] >= 2
    if len(set(target_B[keep_B])) < 2:
        return scores_KK
    features_BD, target_B = features_BD[keep_B].astype(np.float32), target_B[keep_B]
    names = [name for name, keep in zip(group_B or map(str, range(len(keep_B))), keep_B, strict=True) if keep]
    groups_B = _group_numbers(names, target_B)
    num_folds = min(folds, int(count_K.max()), len(set(groups_B)))
    clips_K = np.zeros(num_classes)
    with _expected_warnings():
        grouped = len(set(groups_B)) < len(groups_B)
        splitter = (StratifiedGroupKFold if grouped else StratifiedKFold)(num_folds, shuffle=True, random_state=seed)
        for train_B, test_B in splitter.split(features_BD, target_B, groups_B if grouped else None):
            if len(set(target_B[train_B])) < 2:
                continue
            classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=30, tol=1e-6))
            classifier.fit(features_BD[train_B], target_B[train_B])
            known_K = classifier.classes_
            test_B = test_B[np.isin(target_B[test_B], known_K)]
            if len(test_B):
                probability_BK = classifier.predict_proba(features_BD[test_B])
                np.add.at(scores_KK, (target_B[test_B][:, None], known_K[None]), probability_BK)
                clips_K += np.bincount(target_B[test_B], minlength=num_classes)
    scores_KK /= np.maximum(clips_K, 1)[:, None]
    scores_KK = (scores_KK + scores_KK.T) / 2
    np.fill_diagonal(scores_KK, 0.0)
    return scores_KK


@contextmanager
def _expected_warnings() -> Iterator[None]:
    """Silence two warnings: classes may have fewer clips than folds, and the few steps are intended."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        warnings.filterwarnings("ignore", category=ConvergenceWarning)
        yield


def _group_numbers(group_B: list[str], target_B: np.ndarray) -> np.ndarray:
    """Return the number of each clip's group. In a class with only one group, every clip is its own group."""
    groups_of: dict[int, set[str]] = {}
    for target, name in zip(target_B.tolist(), group_B, strict=True):
        groups_of.setdefault(target, set()).add(name)
    keys = [
        (name, clip if len(groups_of[target]) == 1 else None)
        for clip, (target, name) in enumerate(zip(target_B.tolist(), group_B, strict=True))
    ]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys])


def text_scores(text_KD: np.ndarray) -> np.ndarray:
    """Return the cosines of the class names' features: float64 [K, K], -1 to 1, zero diagonal."""
    text_KD = text_KD.astype(np.float64)
    text_KD = text_KD / np.linalg.norm(text_KD, axis=1, keepdims=True)
    scores_KK = text_KD @ text_KD.T
    np.fill_diagonal(scores_KK, 0.0)
    return scores_KK
