"""Measure how easily classes are confused, with a linear classifier on frame-averaged features of the training clips.

Up to MAX_LOGISTIC classes the classifier is a logistic regression, whose time grows with classes x clips x steps. For
more classes it is linear discriminant analysis, which is computed in closed form from the class means and one
covariance, shrunk after Ledoit and Wolf (2004). Its logits are overconfident and are therefore divided by a temperature
(Guo et al., ICML 2017).

B clips, D joint width, K classes.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

MAX_LOGISTIC = 1000  # classes
CHUNK = 2000  # clips scored at a time
Predict = Callable[[np.ndarray], np.ndarray]  # features [B, D] -> probabilities [B, classes that were fitted]


def confusion_scores(
    features_BD: np.ndarray,
    target_B: np.ndarray,
    num_classes: int,
    folds: int,
    group_B: list[str] | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Return how easily a linear classifier confuses two classes: float64 [K, K], symmetric, 0 to 1, zero diagonal.

    `target_B` has class indices, `group_B` the source video of each clip. Each clip is scored by a classifier that was
    fitted neither on the clip nor on other clips of its group. Without groups, and in a class with only one group,
    every clip is a separate group. The predicted probabilities are averaged over the clips of a class, because they are
    informative with few clips, where counts of errors are not. The resulting matrix is averaged with its transpose, and
    its diagonal is set to zero. A class with fewer than 2 clips gets zeros. A clip is left out if no other fold has
    clips of its class.

    30 steps of logistic regression are enough for the order of the rivals: 700 classes of 50 clips with 512 features
    take two and a half minutes on one core.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    scores_KK = np.zeros((num_classes, num_classes))
    count_K = np.bincount(target_B, minlength=num_classes)
    keep_B = count_K[target_B] >= 2
    if len(set(target_B[keep_B])) < 2:
        return scores_KK
    features_BD, target_B = features_BD[keep_B].astype(np.float32), target_B[keep_B]
    names = [name for name, keep in zip(group_B or map(str, range(len(keep_B))), keep_B, strict=True) if keep]
    groups_B = _group_numbers(names, target_B)
    num_folds = min(folds, int(count_K.max()), len(set(groups_B)))
    fit = _fit_logistic if num_classes <= MAX_LOGISTIC else _fit_discriminant
    clips_K = np.zeros(num_classes)
    with _expected_warnings():
        grouped = len(set(groups_B)) < len(groups_B)
        splitter = (StratifiedGroupKFold if grouped else StratifiedKFold)(num_folds, shuffle=True, random_state=seed)
        for train_B, test_B in splitter.split(features_BD, target_B, groups_B if grouped else None):
            known_K = np.unique(target_B[train_B])
            if len(known_K) < 2:
                continue
            test_B = test_B[np.isin(target_B[test_B], known_K)]
            test_B = test_B[np.argsort(target_B[test_B], kind="stable")]
            predict = fit(features_BD[train_B], target_B[train_B], features_BD[test_B], target_B[test_B])
            for chunk_B in (test_B[start : start + CHUNK] for start in range(0, len(test_B), CHUNK)):
                classes, starts = np.unique(target_B[chunk_B], return_index=True)
                scores_KK[np.ix_(classes, known_K)] += np.add.reduceat(predict(features_BD[chunk_B]), starts)
            clips_K += np.bincount(target_B[test_B], minlength=num_classes)
    scores_KK /= np.maximum(clips_K, 1)[:, None]
    scores_KK += scores_KK.T.copy()
    scores_KK /= 2
    np.fill_diagonal(scores_KK, 0.0)
    return scores_KK


def _fit_logistic(features_BD: np.ndarray, target_B: np.ndarray, *_: np.ndarray) -> Predict:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=30, tol=1e-6))
    return classifier.fit(features_BD, target_B).predict_proba


def _fit_discriminant(
    features_BD: np.ndarray, target_B: np.ndarray, others_BD: np.ndarray, others_B: np.ndarray
) -> Predict:
    """Fit class means and one shrunk covariance; return the function that predicts probabilities.

    `features_BD` and `target_B` are the clips to fit, `others_BD` and `others_B` the other clips. The temperature is
    chosen on at most CHUNK of the others.
    """
    from scipy.linalg import cho_factor, cho_solve
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax, softmax
    from sklearn.covariance import ledoit_wolf

    known_K, number_B, count_K = np.unique(target_B, return_inverse=True, return_counts=True)
    order_B = np.argsort(number_B, kind="stable")
    starts_K = np.concatenate([[0], np.cumsum(count_K)[:-1]])
    mean_KD = np.add.reduceat(features_BD[order_B].astype(np.float64), starts_K) / count_K[:, None]
    covariance_DD, _ = ledoit_wolf(features_BD - mean_KD[number_B], assume_centered=True)
    smallest = max(1e-6 * covariance_DD.trace() / len(covariance_DD), 1e-12)  # clips may be equal
    covariance_DD += smallest * np.eye(len(covariance_DD))
    weight_KD = cho_solve(cho_factor(covariance_DD), mean_KD.T).T
    bias_K = (-0.5 * (weight_KD * mean_KD).sum(1)).astype(np.float32)
    weight_KD = weight_KD.astype(np.float32)

    some_B = np.random.default_rng(0).permutation(len(others_B))[:CHUNK]
    logits_BK = others_BD[some_B] @ weight_KD.T + bias_K
    label_B = np.searchsorted(known_K, others_B[some_B])

    def loss(log_temperature: float) -> float:
        log_BK = log_softmax(logits_BK / np.float32(np.exp(log_temperature)), axis=1)
        return -float(log_BK[np.arange(len(label_B)), label_B].mean())

    temperature = np.float32(np.exp(minimize_scalar(loss, bounds=(-3.0, 7.0), method="bounded").x))
    return lambda of_BD: softmax((of_BD @ weight_KD.T + bias_K) / temperature, axis=1)


@contextmanager
def _expected_warnings() -> Iterator[None]:
    """Silence two expected warnings: some classes have fewer clips than folds, and the fit stops before convergence."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        warnings.filterwarnings("ignore", category=ConvergenceWarning)
        yield


def _group_numbers(group_B: list[str], target_B: np.ndarray) -> np.ndarray:
    """Return the index of each clip's group [B]. In a class with only one group, every clip is a separate group."""
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
    """Return the cosine between the text features of each two class names: float64 [K, K], -1 to 1, zero diagonal."""
    text_KD = text_KD.astype(np.float64)
    text_KD = text_KD / np.linalg.norm(text_KD, axis=1, keepdims=True)
    scores_KK = text_KD @ text_KD.T
    np.fill_diagonal(scores_KK, 0.0)
    return scores_KK
