"""Which classes the image-text model takes for each other, so that a description can say what tells them apart.

MoTED (CVPR 2024) has easily confused classes compared but does not say how it finds them; these are our three rules.
`features`: cross-fitted confusion of a linear classifier on frame-averaged features of the training clips. `text`:
cosine of the class names' features. `given`: pairs that the data set names itself.

B clips, T frames, D joint width, K classes.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from kinetext.config import ConfusablesOptions
from kinetext.data.protocols import read_splits
from kinetext.registry import nearest
from kinetext.tables import open_shard, read_metadata, write_table


def mine_confusables(
    clips: Path,
    splits: Path,
    features: list[Path],
    name_features: Path,
    options: ConfusablesOptions,
    output: Path,
) -> None:
    """Write the table `confusables`. A rival is always a class that the label is scored among: base classes have base
    rivals, novel classes have novel ones.

    `features` are shards of the table `features`; `name_features` is an .npz with `labels` and `text_KD`.
    Empty for a data set with captions, which has no classes to confuse.
    Raises ValueError if no training clip has features, or if a label has no name features.
    """
    metadata = read_metadata(clips)
    if read_metadata(splits).get("captioned"):
        write_table("confusables", [], output)
        return
    labels = class_labels(metadata, clips)
    found = read_splits(splits)
    candidates = [found["test"].labels, *([found["novel"].labels] if "novel" in found else [])]

    # training clips only: rivals chosen on test clips would leak the labels
    base, rows = found["train"].labels, []
    target = {row["clip_id"]: base.index(row["label"]) for row in found["train"].rows}
    if target:  # none under zero_shot_from
        features_BD, clip_ids = pooled_features(features, set(target))
        if not clip_ids:
            raise ValueError(f"{clips}: none of the {len(target)} training clips has features; run embed_frames again")
        target_B = np.array([target[clip_id] for clip_id in clip_ids])
        confusion_KK = confusion_scores(features_BD, target_B, len(base), options.folds)
        rows += top_rivals(confusion_KK, base, "features", options.rivals)

    text_KD = _read_name_features(name_features, labels)
    for names in candidates:
        scores_KK = text_scores(text_KD[[labels.index(name) for name in names]])
        rows += top_rivals(scores_KK, names, "text", options.rivals)
    for names in candidates:
        scores_KK = _given_scores(metadata.get("pairs") or [], names, labels, clips)
        rows += top_rivals(scores_KK, names, "given", options.rivals)
    write_table("confusables", rows, output)


def confusion_scores(
    features_BD: np.ndarray, target_B: np.ndarray, num_classes: int, folds: int, seed: int = 0
) -> np.ndarray:
    """How easily a linear classifier confuses two classes, float64 [K, K], symmetric, 0 to 1, zero diagonal.

    Each clip is judged by a classifier that has not seen it. Its predicted probabilities are averaged over the clips
    of a class (a soft confusion matrix: it says something from a few clips on, where counting errors says nothing),
    so every row sums to 1 before the diagonal goes. Classes with fewer than 2 clips get zeros; `folds` is reduced to
    the smallest of the other classes.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scores_KK = np.zeros((num_classes, num_classes))
    count_K = np.bincount(target_B, minlength=num_classes)
    judged = np.flatnonzero(count_K >= 2)
    if len(judged) < 2:
        return scores_KK
    keep_B = count_K[target_B] >= 2
    features_BD, target_B = features_BD[keep_B], target_B[keep_B]
    splitter = StratifiedKFold(min(folds, int(count_K[judged].min())), shuffle=True, random_state=seed)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    probability_BK = cross_val_predict(classifier, features_BD, target_B, cv=splitter, method="predict_proba")
    for label in judged:
        scores_KK[label, judged] = probability_BK[target_B == label].mean(0)
    scores_KK = (scores_KK + scores_KK.T) / 2
    np.fill_diagonal(scores_KK, 0.0)
    return scores_KK


def text_scores(text_KD: np.ndarray) -> np.ndarray:
    """Cosine of the class names' features, float64 [K, K], -1 to 1, zero diagonal."""
    text_KD = text_KD.astype(np.float64)
    text_KD = text_KD / np.linalg.norm(text_KD, axis=1, keepdims=True)
    scores_KK = text_KD @ text_KD.T
    np.fill_diagonal(scores_KK, 0.0)
    return scores_KK


def top_rivals(scores_KK: np.ndarray, labels: list[str], rule: str, rivals: int) -> list[dict[str, Any]]:
    """Rows of the table `confusables`: for each label its `rivals` best, the easiest confused first, ties in the order
    of the labels. A score of exactly 0 is no evidence and gives no row.
    """
    rows = []
    for row, label in enumerate(labels):
        order = np.argsort(-scores_KK[row], kind="stable").tolist()
        best = [i for i in order if i != row and scores_KK[row, i] != 0][:rivals]
        for rank, i in enumerate(best, start=1):
            score = float(scores_KK[row, i])
            rows.append({"label": label, "rival": labels[i], "score": score, "rule": rule, "rank": rank})
    return rows


def class_labels(metadata: dict[str, Any], clips: Path) -> list[str]:
    """The class names in the metadata of clips.parquet. Raises ValueError where the data set has captions instead."""
    if not metadata.get("labels"):
        raise ValueError(f"{clips}: has captions and no class names; confusables and texts are of classes only")
    return list(metadata["labels"])


def pooled_features(shards: Iterable[Path], wanted: set[str]) -> tuple[np.ndarray, list[str]]:
    """Frame-averaged features float32 [B, D] of the wanted clips, and their ids, in the order of the shards."""
    means, clip_ids = [], []
    for shard in shards:
        for batch in open_shard("features", shard).to_batches():
            for row, clip_id in enumerate(batch.column("clip_id").to_pylist()):
                if clip_id in wanted:
                    frames = batch.column("frame_TD")[row].values  # stays in Arrow: no Python list per number
                    frame_TD = frames.flatten().to_numpy(zero_copy_only=False).reshape(len(frames), -1)
                    means.append(frame_TD.astype(np.float32).mean(0))
                    clip_ids.append(clip_id)
    return np.stack(means) if means else np.zeros((0, 0), np.float32), clip_ids


def _read_name_features(path: Path, labels: list[str]) -> np.ndarray:
    with np.load(path) as file:
        found = [str(label) for label in file["labels"]]
        text_KD = file["text_KD"]
    missing = [label for label in labels if label not in found]
    if missing:
        raise ValueError(f"{path}: has no features of class '{missing[0]}'; delete it and run embed_frames again")
    return text_KD[[found.index(label) for label in labels]]


def _given_scores(pairs: list[list[str]], names: list[str], labels: list[str], clips: Path) -> np.ndarray:
    scores_KK = np.zeros((len(names), len(names)))
    for pair in pairs:
        for label in pair:
            if label not in labels:
                raise ValueError(f"{clips}: pairs: no class '{label}'{nearest(label, labels)}")
        if set(pair) <= set(names):  # a pair with one half among the novel classes is never scored together
            a, b = (names.index(label) for label in pair)
            scores_KK[a, b] = scores_KK[b, a] = 1.0
    return scores_KK
