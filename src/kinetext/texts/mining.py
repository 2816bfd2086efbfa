"""Which classes the image-text model takes for each other, so that a description can say what tells them apart.

MoTED (CVPR 2024) has easily confused classes compared but does not say how it finds them; these are our four rules.
`features`: cross-fitted confusion of a linear classifier on frame-averaged features of the training clips. `text`:
cosine of the class names' features. `declared`: pairs that the data set names itself. `file`: the user's own csv.

B clips, T frames, D joint width, K classes.
"""

import math
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from kinetext.config.texts import ConfusablesOptions
from kinetext.core.plugins import nearest
from kinetext.core.tables import open_shard, read_metadata, read_rows, write_table
from kinetext.data.lists import known_class, need_path, read_csv
from kinetext.data.splits import draw_clips, read_splits


def mine_confusables(
    clips: Path,
    splits: Path,
    features: list[Path],
    name_features: Path,
    options: ConfusablesOptions,
    output: Path,
) -> None:
    """Write the table `confusables`. A rival is always a class that the label is scored among: base classes have base
    rivals, novel classes have novel ones; pairs of `declared` and `file` that lie across are left out.

    `features` are shards of the table `features`; `name_features` is an .npz with `labels` and `text_KD`.
    Empty for a data set with captions, which has no classes to confuse.
    Raises ValueError if no training clip has features, if a label has no name features, or if the user's file is wrong.
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
    if found["train"].rows:  # none under zero_shot_from
        usable = {clip_id for shard in features for clip_id in open_shard("features", shard)["clip_id"].to_pylist()}
        trained = [row for row in found["train"].rows if row["clip_id"] in usable]
        if not trained:
            count = len(found["train"].rows)
            raise ValueError(f"{clips}: none of the {count} training clips has features; run embed_frames again")
        target = {row["clip_id"]: base.index(row["label"]) for row in draw_clips(trained, options.clips_per_class, 0)}
        group = {row["clip_id"]: row["group"] or row["clip_id"] for row in read_rows("clips", clips)}
        features_BD, clip_ids = pooled_features(features, set(target))
        confusion_KK = confusion_scores(
            features_BD,
            np.array([target[clip_id] for clip_id in clip_ids]),
            len(base),
            options.folds,
            [group[clip_id] for clip_id in clip_ids],
        )
        rows += top_rivals(confusion_KK, base, "features", options.rivals)

    text_KD = _read_name_features(name_features, labels)
    for names in candidates:
        scores_KK = text_scores(text_KD[[labels.index(name) for name in names]])
        rows += top_rivals(scores_KK, names, "text", options.rivals)
    for names in candidates:
        scores_KK = _given_scores(metadata.get("pairs") or [], names, labels, clips)
        rows += top_rivals(scores_KK, names, "declared", options.rivals)
    if options.file is not None:
        listed = read_rivals(need_path(options.file, "confusables.file"), labels)
        for names in candidates:
            rows += _listed_rivals(listed, names, options.rivals)
    write_table("confusables", rows, output)


def confusion_scores(
    features_BD: np.ndarray,
    target_B: np.ndarray,
    num_classes: int,
    folds: int,
    group_B: list[str] | None = None,
    seed: int = 0,
) -> np.ndarray:
    """How easily a linear classifier confuses two classes, float64 [K, K], symmetric, 0 to 1, zero diagonal.

    Each clip is judged by a classifier that has seen neither it nor another clip of its group (what clips were cut from;
    without groups each clip is one, and so it is in a class whose clips are all of one group). Its predicted probabilities
    are averaged over the clips of a class (a soft confusion matrix: it says something from a few clips on, where counting
    errors says nothing), so every row sums to 1; then the matrix is averaged with its transpose, and the diagonal goes.
    Classes with fewer than 2 clips get zeros; a clip whose class is not in the other folds is not counted.

    Logistic regression, because probabilities are what it is fitted to, and because it works from one clip a class on,
    where a discriminant analysis has no covariance to divide by. 30 steps do, as it is the order of rivals that counts:
    700 classes of 50 clips with 512 numbers take two and a half minutes of one core (docs/lab-log.md).
    """
    from sklearn.exceptions import ConvergenceWarning
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
    groups_B = _groups(names, target_B)
    num_folds = min(folds, int(count_K.max()), len(set(groups_B)))
    judged_K = np.zeros(num_classes)
    with warnings.catch_warnings():
        # classes with fewer clips than folds are meant, and so are the few steps
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        warnings.filterwarnings("ignore", category=ConvergenceWarning)
        grouped = len(set(groups_B)) < len(groups_B)
        splitter = (StratifiedGroupKFold if grouped else StratifiedKFold)(num_folds, shuffle=True, random_state=seed)
        for seen_B, unseen_B in splitter.split(features_BD, target_B, groups_B if grouped else None):
            if len(set(target_B[seen_B])) < 2:
                continue
            classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=30, tol=1e-6))
            classifier.fit(features_BD[seen_B], target_B[seen_B])
            known_K = classifier.classes_
            unseen_B = unseen_B[np.isin(target_B[unseen_B], known_K)]
            if len(unseen_B):
                probability_BK = classifier.predict_proba(features_BD[unseen_B])
                np.add.at(scores_KK, (target_B[unseen_B][:, None], known_K[None]), probability_BK)
                judged_K += np.bincount(target_B[unseen_B], minlength=num_classes)
    scores_KK /= np.maximum(judged_K, 1)[:, None]
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


def read_rivals(path: Path, labels: list[str]) -> dict[str, dict[str, float]]:
    """The user's rivals of each label with their scores (1 without a column score), the highest first, equal ones in the
    order of the file; a rival counts in the direction given, so that a pair in both needs two rows.

    Raises ValueError, with the line and the nearest class, for a class that does not exist, a class that is its own rival,
    a row that stands twice, or a score that is no positive number.
    """
    found: dict[str, dict[str, float]] = {}
    for line, row in read_csv(path, "label", "rival"):
        place = f"{path}:{line}"
        label, rival = (known_class(row[key].strip(), labels, place, "the data set") for key in ("label", "rival"))
        if label == rival:
            raise ValueError(f"{place}: '{label}' is its own rival; take the row out")
        if rival in found.get(label, {}):
            raise ValueError(f"{place}: '{label}' with the rival '{rival}' stands in an earlier line, too; keep one")
        found.setdefault(label, {})[rival] = _score(row, place)
    return {label: dict(sorted(rivals.items(), key=lambda item: -item[1])) for label, rivals in found.items()}


def _score(row: dict[str, str], place: str) -> float:
    text = row.get("score")
    if text is None:
        return 1.0
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not (math.isfinite(score) and score > 0):
        raise ValueError(f"{place}: score is '{text}'; it must be a number above 0, larger where confused more easily")
    return score


def _listed_rivals(listed: dict[str, dict[str, float]], names: list[str], rivals: int) -> list[dict[str, Any]]:
    """Rows of the table `confusables` from the user's file, of pairs whose classes are both among `names`."""
    rows = []
    for label in names:
        best = [(rival, score) for rival, score in listed.get(label, {}).items() if rival in names][:rivals]
        for rank, (rival, score) in enumerate(best, start=1):
            rows.append({"label": label, "rival": rival, "score": score, "rule": "file", "rank": rank})
    return rows


def _groups(group_B: list[str], target_B: np.ndarray) -> np.ndarray:
    """A number for each clip's group; in a class of one group only, a clip is a group of its own."""
    whole: dict[int, set[str]] = {}
    for target, name in zip(target_B.tolist(), group_B, strict=True):
        whole.setdefault(target, set()).add(name)
    names = [
        (name, b if len(whole[target]) == 1 else None)
        for b, (target, name) in enumerate(zip(target_B.tolist(), group_B, strict=True))
    ]
    number = {name: n for n, name in enumerate(dict.fromkeys(names))}
    return np.array([number[name] for name in names])


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
