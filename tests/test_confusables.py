"""Three classes: `push` and `pull` look the same to the classifier, `jump` does not."""

from pathlib import Path

import numpy as np
import pytest

from kinetext.config import ConfusablesOptions
from kinetext.tables import read_rows, write_shard, write_table
from kinetext.text.confusables import (
    confusion_scores,
    mine_confusables,
    pooled_features,
    text_scores,
    top_rivals,
)
from splits import write_splits

LABELS = ["push", "pull", "jump", "wave"]
LOOKS = {"push": (1.0, 0.0), "pull": (1.0, 0.0), "jump": (0.0, 9.0), "wave": (0.0, -9.0)}
NAMES_KD = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 2.0], [-1.0, 0.0]])  # the third is not normalised, and need not be


def write_world(folder: Path, rows: list[tuple[str, str]], pairs: tuple = (), looks: list[str] | None = None) -> dict:
    """Clips of (split, label) with the features that LOOKS has for their label, or for the label in `looks`, in two
    shards. The arguments of mine_confusables.
    """
    looks = looks or [label for _, label in rows]
    clips = [
        {"clip_id": f"{n:03d}", "split": split, "label": label, "captions": [], "shard": str(n % 2)}
        for n, (split, label) in enumerate(rows)
    ]
    write_table("clips", clips, folder / "clips.parquet", {"labels": LABELS, "pairs": list(pairs)})
    for shard in ("0", "1"):
        features = [
            {
                "clip_id": clip["clip_id"],
                "frame_TD": np.tile(np.float16(LOOKS[looks[int(clip["clip_id"])]]), (3, 1)).tolist(),
            }
            for clip in clips
            if clip["shard"] == shard
        ]
        write_shard("features", [features], folder / f"{shard}.arrow")
    np.savez(folder / "names.npz", labels=np.array(LABELS), text_KD=NAMES_KD)
    return {
        "clips": folder / "clips.parquet",
        "features": [folder / "0.arrow", folder / "1.arrow"],
        "name_features": folder / "names.npz",
        "splits": write_splits(folder / "clips.parquet"),
        "options": ConfusablesOptions(rivals=2),
        "output": folder / "confusables.parquet",
    }


def train_clips(per_class: int) -> list[tuple[str, str]]:
    return [("train", label) for label in LABELS for _ in range(per_class)]


def rivals_of(rows: list[dict], label: str, rule: str) -> list[str]:
    chosen = [row for row in rows if (row["label"], row["rule"]) == (label, rule)]
    return [row["rival"] for row in sorted(chosen, key=lambda row: row["rank"])]


def test_two_classes_that_look_the_same_are_confused_half_of_the_time():
    features_BD = np.ones((8, 5))
    scores_KK = confusion_scores(features_BD, np.array([0, 1] * 4), num_classes=2, folds=2)
    np.testing.assert_allclose(scores_KK, [[0.0, 0.5], [0.5, 0.0]], atol=1e-6)


def test_confusion_is_symmetric_and_finds_the_lookalikes():
    target_B = np.repeat([0, 1, 2], 6)
    features_BD = np.array([LOOKS[LABELS[k]] for k in target_B])
    scores_KK = confusion_scores(features_BD, target_B, num_classes=3, folds=3)
    assert (scores_KK == scores_KK.T).all()
    assert (np.diag(scores_KK) == 0).all()
    assert 0.4 < scores_KK[0, 1] <= 0.5
    assert scores_KK[0, 2] < 0.1


def test_a_class_with_one_clip_gets_zeros_and_folds_follow_the_smallest_other_class():
    target_B = np.array([0, 0, 0, 1, 1, 2])
    scores_KK = confusion_scores(np.ones((6, 2)), target_B, num_classes=4, folds=5)
    assert (scores_KK[2:] == 0).all()
    assert (scores_KK[:, 2:] == 0).all()
    assert scores_KK[0, 1] > 0.4
    assert (confusion_scores(np.ones((3, 2)), np.array([0, 0, 1]), num_classes=2, folds=2) == 0).all()


def test_a_clip_is_judged_by_a_classifier_that_has_not_seen_it():
    # random labels: fitted and judged on the same clips, 40 dimensions would tell 20 clips apart without an error
    features_BD = np.random.default_rng(0).normal(size=(20, 40))
    scores_KK = confusion_scores(features_BD, np.array([0, 1] * 10), num_classes=2, folds=5)
    assert scores_KK[0, 1] > 0.3


def test_text_scores_are_cosines():
    expected_KK = [[0.0, 0.6, 0.0, -1.0], [0.6, 0.0, 0.8, -0.6], [0.0, 0.8, 0.0, 0.0], [-1.0, -0.6, 0.0, 0.0]]
    np.testing.assert_allclose(text_scores(NAMES_KD), expected_KK, atol=1e-12)


def test_top_rivals_are_ranked_and_zero_is_no_evidence():
    scores_KK = np.array([[0.0, 0.2, 0.5], [0.2, 0.0, 0.0], [0.5, 0.0, 0.0]])
    rows = top_rivals(scores_KK, ["a", "b", "c"], "features", rivals=2)
    assert [(row["label"], row["rival"], row["score"], row["rank"]) for row in rows] == [
        ("a", "c", 0.5, 1),
        ("a", "b", 0.2, 2),
        ("b", "a", 0.2, 1),
        ("c", "a", 0.5, 1),
    ]
    assert len(top_rivals(scores_KK, ["a", "b", "c"], "features", rivals=1)) == 3


def test_mined_table(tmp_path):
    world = write_world(tmp_path, train_clips(6), pairs=[["jump", "wave"]])
    mine_confusables(**world)
    rows = read_rows("confusables", world["output"])
    assert rivals_of(rows, "push", "features")[0] == "pull"
    assert rivals_of(rows, "pull", "features")[0] == "push"
    assert rivals_of(rows, "pull", "text") == ["jump", "push"]  # 0.8, 0.6
    assert rivals_of(rows, "jump", "given") == ["wave"]
    assert rivals_of(rows, "wave", "given") == ["jump"]
    assert rivals_of(rows, "push", "given") == []


def test_rivals_stay_among_the_classes_that_a_label_is_scored_with(tmp_path):
    world = write_world(tmp_path, train_clips(6), pairs=[["push", "pull"], ["jump", "wave"]])
    world |= {"splits": write_splits(world["clips"], ["pull", "wave"])}
    mine_confusables(**world)
    rows = read_rows("confusables", world["output"])
    assert {(row["label"], row["rival"]) for row in rows if row["rule"] == "features"} == {
        ("push", "jump"),
        ("jump", "push"),
    }
    assert rivals_of(rows, "pull", "text") == ["wave"]
    assert rivals_of(rows, "push", "text") == []  # the cosine with jump, the only other base class, is 0
    assert [row for row in rows if row["rule"] == "given"] == []  # both pairs lie across the split


def test_labels_of_test_and_validation_clips_change_nothing(tmp_path):
    train = train_clips(3)
    held_out = [("test", "push"), ("test", "jump"), ("val", "pull"), ("val", "wave"), ("test", "wave")]
    looks = [label for _, label in train + held_out]
    permuted = [("test", "wave"), ("test", "push"), ("val", "jump"), ("val", "jump"), ("test", "pull")]
    tables = []
    for name, rows in [("true", train + held_out), ("permuted", train + permuted), ("train", train[::-1] + held_out)]:
        world = write_world(tmp_path / name, rows, looks=looks)
        mine_confusables(**world)
        tables.append(read_rows("confusables", world["output"]))
    assert tables[0] == tables[1]
    assert rivals_of(tables[0], "push", "features")[0] == "pull"
    assert rivals_of(tables[2], "push", "features")[0] != "pull"  # the labels of training clips do matter


def test_features_are_averaged_over_frames(tmp_path):
    rows = [{"clip_id": "a", "frame_TD": [[1.0, 2.0], [3.0, 6.0]]}, {"clip_id": "b", "frame_TD": [[5.0, 5.0]]}]
    write_shard("features", [rows[:1], rows[1:]], tmp_path / "0.arrow")
    features_BD, clip_ids = pooled_features([tmp_path / "0.arrow"], {"b", "a"})
    assert clip_ids == ["a", "b"]
    np.testing.assert_array_equal(features_BD, [[2.0, 4.0], [5.0, 5.0]])


def test_errors_say_where_what_and_what_to_do(tmp_path):
    world = write_world(tmp_path, train_clips(2), pairs=[["push", "pul"]])
    with pytest.raises(ValueError, match=r"clips.parquet: pairs: no class 'pul'; did you mean 'pull'\?"):
        mine_confusables(**world)
    np.savez(tmp_path / "names.npz", labels=np.array(LABELS[:3]), text_KD=NAMES_KD[:3])
    with pytest.raises(ValueError, match=r"names.npz: has no features of class 'wave'"):
        mine_confusables(**world)
    write_shard("features", [[]], tmp_path / "empty.arrow")
    with pytest.raises(ValueError, match="none of the 8 training clips has features"):
        mine_confusables(**(world | {"features": [tmp_path / "empty.arrow"]}))
    write_table("clips", [], tmp_path / "captions.parquet", {"labels": []})
    with pytest.raises(ValueError, match=r"captions.parquet: has captions and no class names"):
        mine_confusables(**(world | {"clips": tmp_path / "captions.parquet"}))
