"""Find the classes that an image-text model confuses, so that descriptions can name what distinguishes them.

MoTED (CVPR 2024) compares confusable classes but does not say how it finds them; these four rules are ours. `features`:
cross-fitted confusion of a linear classifier on frame-averaged features of the training clips. `text`: cosine between
the text features of the class names. `declared`: pairs that the data set declares. `file`: a csv file of the user.

B clips, T frames, D joint width, K classes.
"""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from kinetext.config.texts import ConfusablesOptions
from kinetext.core.plugins import nearest
from kinetext.core.tables import open_shard, read_metadata, read_rows, write_table
from kinetext.data.lists import known_class, need_path, read_csv
from kinetext.data.shots import draw_clips
from kinetext.data.splits import Split, read_splits
from kinetext.texts.confusion import confusion_scores, text_scores

Rows = list[dict[str, Any]]  # of the table `confusables`


def mine_confusables(
    clips: Path,
    splits: Path,
    features: list[Path],
    name_features: Path,
    options: ConfusablesOptions,
    output: Path,
) -> None:
    """Write the table `confusables`. It is empty for a data set with captions.

    `features` are shards of the table `features`; `name_features` is an .npz file with `labels` and `text_KD`. Rivals
    are always classes that are scored together: base classes have base rivals, novel classes have novel rivals. Other
    pairs of `declared` and `file` are left out. The rule `features` gives no rows for a multi-label data set, because a
    clip may truly show both classes. Raises ValueError if no training clip has features, if a label has no text
    feature, or if the user's file is wrong.
    """
    metadata = read_metadata(clips)
    if read_metadata(splits).get("captioned"):
        write_table("confusables", [], output)
        return
    labels = class_labels(metadata, clips)
    by_name = read_splits(splits)
    scored_together = [by_name[name].labels for name in ("test", "novel") if name in by_name]
    train = by_name["train"]
    rows = _feature_rivals(clips, train, features, options) if train.rows and not train.multi_label else []
    text_KD = _read_name_features(name_features, labels)
    row_of = {label: row for row, label in enumerate(labels)}
    if text_KD is not None:
        for names in scored_together:
            scores_KK = text_scores(text_KD[[row_of[name] for name in names]])
            rows += top_rivals(scores_KK, names, "text", options.rivals)
    for names in scored_together:
        scores_KK = _declared_scores(metadata.get("pairs") or [], names, labels, clips)
        rows += top_rivals(scores_KK, names, "declared", options.rivals)
    if options.file is not None:
        of_user = read_rivals(need_path(options.file, "confusables.file"), labels)
        for names in scored_together:
            rows += _rivals_from_file(of_user, names, options.rivals)
    write_table("confusables", rows, output)


def _feature_rivals(clips: Path, train: Split, features: list[Path], options: ConfusablesOptions) -> Rows:
    """Return the rows of the rule `features`. Only training clips are used, because test clips would leak labels."""
    with_features = {clip_id for shard in features for clip_id in open_shard("features", shard)["clip_id"].to_pylist()}
    usable = [row for row in train.rows if row["clip_id"] in with_features]
    if not usable:
        raise ValueError(f"{clips}: none of the {len(train.rows)} training clips has features; run embed_frames again")
    number_of = {label: number for number, label in enumerate(train.labels)}
    target = {row["clip_id"]: number_of[row["label"]] for row in draw_clips(usable, options.clips_per_class, 0)}
    group = {row["clip_id"]: row["group"] or row["clip_id"] for row in read_rows("clips", clips)}
    features_BD, clip_ids = pooled_features(features, set(target))
    target_B = np.array([target[clip_id] for clip_id in clip_ids])
    group_B = [group[clip_id] for clip_id in clip_ids]
    confusion_KK = confusion_scores(features_BD, target_B, len(train.labels), options.folds, group_B)
    return top_rivals(confusion_KK, train.labels, "features", options.rivals)


def top_rivals(scores_KK: np.ndarray, labels: list[str], rule: str, rivals: int) -> Rows:
    """Return rows of the table `confusables`: for each label at most `rivals` rivals, the highest score first.

    `scores_KK` has one row per label. Equal scores are in the order of the labels. A score of exactly 0 gives no row.
    """
    rows = []
    for row, label in enumerate(labels):
        score_K = scores_KK[row]
        lowest = -np.inf if len(labels) <= rivals + 1 else np.partition(score_K, -rivals - 1)[-rivals - 1]
        candidates = np.flatnonzero(score_K >= lowest)  # the best, the class itself, and all that tie with the last
        order = candidates[np.argsort(-score_K[candidates], kind="stable")].tolist()
        best = [i for i in order if i != row and score_K[i] != 0][:rivals]
        for rank, i in enumerate(best, start=1):
            score = float(scores_KK[row, i])
            rows.append({"label": label, "rival": labels[i], "score": score, "rule": rule, "rank": rank})
    return rows


def class_labels(metadata: dict[str, Any], clips: Path) -> list[str]:
    """Return the class names in the metadata of the table `clips`. Raises ValueError if it has captions instead."""
    if not metadata.get("labels"):
        raise ValueError(f"{clips}: has captions and no class names; confusable classes and texts need classes")
    return list(metadata["labels"])


def pooled_features(shards: Iterable[Path], clips: set[str]) -> tuple[np.ndarray, list[str]]:
    """Return the frame-averaged features float32 [B, D] of the clips in `clips`, and the ids of these clips.

    Both are in the order of the shards.
    """
    means, clip_ids = [], []
    for shard in shards:
        for batch in open_shard("features", shard).to_batches():
            for row, clip_id in enumerate(batch.column("clip_id").to_pylist()):
                if clip_id in clips:
                    frames = batch.column("frame_TD")[row].values  # stays in Arrow: no Python list per number
                    frame_TD = frames.flatten().to_numpy(zero_copy_only=False).reshape(len(frames), -1)
                    means.append(frame_TD.astype(np.float32).mean(0))
                    clip_ids.append(clip_id)
    return np.stack(means) if means else np.zeros((0, 0), np.float32), clip_ids


def read_rivals(path: Path, labels: list[str]) -> dict[str, dict[str, float]]:
    """Return the rivals in the user's file: label -> rival -> score, the highest score first.

    Without a column `score` every score is 1. Equal scores are in the order of the file. A row holds for one direction
    only, so a mutual pair needs two rows. Raises ValueError, with the line, for an unknown class (with the most similar
    one), a class that is its own rival, a duplicate row, or a score that is not positive.
    """
    rivals_of: dict[str, dict[str, float]] = {}
    for line, row in read_csv(path, "label", "rival"):
        where = f"{path}:{line}"
        label, rival = (known_class(row[key].strip(), labels, where, "the data set") for key in ("label", "rival"))
        if label == rival:
            raise ValueError(f"{where}: '{label}' is its own rival; remove the row")
        if rival in rivals_of.get(label, {}):
            raise ValueError(f"{where}: duplicate row of '{label}' with the rival '{rival}'; keep one")
        rivals_of.setdefault(label, {})[rival] = _score(row, where)
    return {label: dict(sorted(rivals.items(), key=lambda item: -item[1])) for label, rivals in rivals_of.items()}


def _score(row: dict[str, str], where: str) -> float:
    text = row.get("score")
    if text is None:
        return 1.0
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not (math.isfinite(score) and score > 0):
        raise ValueError(f"{where}: score is '{text}'; it must be a number above 0, higher if confused more easily")
    return score


def _rivals_from_file(rivals_of: dict[str, dict[str, float]], names: list[str], rivals: int) -> Rows:
    """Return rows of the table `confusables` from the user's file: at most `rivals` rivals per class.

    Only pairs with both classes among `names` are used.
    """
    rows, known = [], set(names)
    for label in names:
        best = [(rival, score) for rival, score in rivals_of.get(label, {}).items() if rival in known][:rivals]
        for rank, (rival, score) in enumerate(best, start=1):
            rows.append({"label": label, "rival": rival, "score": score, "rule": "file", "rank": rank})
    return rows


def _read_name_features(path: Path, labels: list[str]) -> np.ndarray | None:
    """Return the text features of the class names [K, D]; None if the backbone has no text encoder.

    Raises ValueError if a label has no feature.
    """
    with np.load(path) as file:
        row_of = {str(label): row for row, label in enumerate(file["labels"])}
        text_KD = file["text_KD"]
    if not row_of:
        return None
    missing = [label for label in labels if label not in row_of]
    if missing:
        raise ValueError(f"{path}: has no features of class '{missing[0]}'; delete it and run embed_labels again")
    return text_KD[[row_of[label] for label in labels]]


def _declared_scores(pairs: list[list[str]], names: list[str], labels: list[str], clips: Path) -> np.ndarray:
    scores_KK = np.zeros((len(names), len(names)))
    for pair in pairs:
        for label in pair:
            if label not in labels:
                raise ValueError(f"{clips}: pairs: no class '{label}'{nearest(label, labels)}")
        if set(pair) <= set(names):  # other pairs are never scored together
            a, b = (names.index(label) for label in pair)
            scores_KK[a, b] = scores_KK[b, a] = 1.0
    return scores_KK
