"""Mining of confusable classes: `push` and `pull` look the same to the classifier, `jump` does not."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from kinetext.config.texts import ConfusablesOptions, TextOptions
from kinetext.core import plugins
from kinetext.core.tables import read_rows, write_shard, write_table
from kinetext.texts import confusion
from kinetext.texts.describe import describe_classes
from kinetext.texts.mining import (
    confusion_scores,
    mine_confusables,
    pooled_features,
    text_scores,
    top_rivals,
)
from kinetext.texts.providers.base import Provider, Text
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


@pytest.fixture(params=["logistic", "discriminant"])
def classifier(request, monkeypatch):
    """The classifier of few classes, and that of more than MAX_LOGISTIC."""
    monkeypatch.setattr("kinetext.texts.confusion.MAX_LOGISTIC", 1000 if request.param == "logistic" else 1)
    monkeypatch.setattr("kinetext.texts.confusion.CHUNK", 5)


@pytest.mark.usefixtures("classifier")
def test_identical_classes_are_confused_half_of_the_time():
    features_BD = np.ones((8, 5))
    scores_KK = confusion_scores(features_BD, np.array([0, 1] * 4), num_classes=2, folds=2)
    np.testing.assert_allclose(scores_KK, [[0.0, 0.5], [0.5, 0.0]], atol=1e-6)


@pytest.mark.usefixtures("classifier")
def test_confusion_is_symmetric_and_finds_similar_classes():
    target_B = np.repeat([0, 1, 2], 6)
    features_BD = np.array([LOOKS[LABELS[k]] for k in target_B])
    scores_KK = confusion_scores(features_BD, target_B, num_classes=3, folds=3)
    assert (scores_KK == scores_KK.T).all()
    assert (np.diag(scores_KK) == 0).all()
    assert 0.4 < scores_KK[0, 1] <= 0.5
    assert scores_KK[0, 2] < 0.1


@pytest.mark.usefixtures("classifier")
def test_near_classes_are_each_others_first_rivals():
    generator = np.random.default_rng(0)
    mean_KD = np.repeat(generator.normal(size=(10, 16)), 2, axis=0) + 0.3 * generator.normal(size=(20, 16))
    target_B = np.repeat(np.arange(20), 12)
    features_BD = mean_KD[target_B] + 0.5 * generator.normal(size=(240, 16))
    scores_KK = confusion_scores(features_BD, target_B, num_classes=20, folds=4)
    assert (scores_KK.argmax(1) == np.arange(20) ^ 1).all()
    assert 0.02 < scores_KK[np.arange(20), np.arange(20) ^ 1].mean() < 0.4


@pytest.mark.usefixtures("classifier")
def test_class_with_one_clip_gets_zeros():
    target_B = np.array([0, 0, 0, 1, 1, 2])
    scores_KK = confusion_scores(np.ones((6, 2)), target_B, num_classes=4, folds=5)
    assert (scores_KK[2:] == 0).all()
    assert (scores_KK[:, 2:] == 0).all()
    assert scores_KK[0, 1] > 0.4
    assert (confusion_scores(np.ones((3, 2)), np.array([0, 0, 1]), num_classes=2, folds=2) == 0).all()


@pytest.mark.usefixtures("classifier")
def test_clip_is_scored_by_a_classifier_that_has_not_seen_it():
    # random labels: fitted and judged on the same clips, 40 dimensions would tell 20 clips apart without an error
    features_BD = np.random.default_rng(0).normal(size=(20, 40))
    scores_KK = confusion_scores(features_BD, np.array([0, 1] * 10), num_classes=2, folds=5)
    assert scores_KK[0, 1] > 0.3


@pytest.mark.usefixtures("classifier")
def test_group_is_scored_by_a_classifier_that_has_seen_none_of_it():
    # every clip looks like the other clips of its group and like nothing else, so only a cut of the same film gives its
    # class away
    film_FD = np.random.default_rng(0).normal(size=(24, 40))
    film_B, target_B = np.repeat(np.arange(24), 3), np.repeat(np.arange(24) % 2, 3)
    scores_KK = confusion_scores(film_FD[film_B], target_B, 2, folds=4)
    apart_KK = confusion_scores(film_FD[film_B], target_B, 2, folds=4, group_B=[f"film{f}" for f in film_B])
    assert scores_KK[0, 1] < 0.1
    assert apart_KK[0, 1] > 0.3


@pytest.mark.usefixtures("classifier")
def test_class_of_one_group_is_scored_clip_by_clip():
    features_BD = np.array([LOOKS[label] for label in ("push", "pull", "jump") for _ in range(4)])
    groups = ["one film"] * 4 + [f"{i}" for i in range(8)]
    scores_KK = confusion_scores(features_BD, np.repeat([0, 1, 2], 4), 3, folds=4, group_B=groups)
    assert scores_KK[0, 1] > 0.4 > 0.1 > scores_KK[0, 2]


@pytest.mark.usefixtures("classifier")
def test_small_class_does_not_reduce_the_folds_of_a_large_one():
    target_B = np.array([0] * 20 + [1] * 20 + [2] * 2)
    features_BD = np.array([LOOKS[LABELS[k]] for k in target_B])
    scores_KK = confusion_scores(features_BD, target_B, 3, folds=5)
    assert 0.4 < scores_KK[0, 1] <= 0.5
    assert scores_KK[0, 2] < 0.25


def test_many_classes_are_fitted_in_closed_form_and_scored_in_chunks(monkeypatch):
    """10 000 classes took 10.8 GB and more than 700 s otherwise (benchmarks/mining.py)."""
    sizes = []
    fit = confusion._fit_discriminant

    def fit_and_count(*arrays):
        predict = fit(*arrays)
        return lambda features_BD: sizes.append(len(features_BD)) or predict(features_BD)

    monkeypatch.setattr(confusion, "_fit_discriminant", fit_and_count)
    monkeypatch.setattr(confusion, "_fit_logistic", None)
    num_classes = 1001
    features_BD = np.random.default_rng(0).normal(size=(6 * num_classes, 4))
    confusion_scores(features_BD, np.repeat(np.arange(num_classes), 6), num_classes, folds=2)
    assert sum(sizes) == len(features_BD)
    assert max(sizes) <= 2000


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
    assert rivals_of(rows, "jump", "declared") == ["wave"]
    assert rivals_of(rows, "wave", "declared") == ["jump"]
    assert rivals_of(rows, "push", "declared") == []


def test_rivals_are_scored_together(tmp_path):
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
    assert [row for row in rows if row["rule"] == "declared"] == []  # both pairs lie across the split


@pytest.fixture
def provider(monkeypatch):
    """A provider whose sentences depend on all that was mined, and name no rival: such sentences are not used."""

    def describe(self, label, rivals, context):
        digests = [hashlib.sha256(f"{label} {rival}".encode()).hexdigest() for rival in rivals]
        return [Text(label, f"moves {digest}", "motion", source="test") for digest in digests]

    provider = type("Telling", (Provider,), {"describe": describe})
    monkeypatch.setattr(plugins, "load", lambda kind, name: provider)


def test_labels_of_test_and_validation_clips_are_not_used(tmp_path, provider):
    train = train_clips(3)
    held_out = [("test", "push"), ("test", "jump"), ("val", "pull"), ("val", "wave"), ("test", "wave")]
    looks = [label for _, label in train + held_out]
    permuted = [("test", "wave"), ("test", "push"), ("val", "jump"), ("val", "jump"), ("test", "pull")]
    mined, texts = {}, {}
    for name, rows in [("true", train + held_out), ("permuted", train + permuted), ("train", train[::-1] + held_out)]:
        world = write_world(tmp_path / name, rows, [["push", "jump"]], looks)
        mine_confusables(**world)
        mined[name] = world["output"].read_bytes()
        for rule in ("features", "text", "declared"):
            output = tmp_path / name / f"{rule}.parquet"
            arguments = (world["clips"], world["splits"], world["output"], TextOptions(), "telling", rule, tmp_path)
            describe_classes(*arguments, output)
            texts[name, rule] = output.read_bytes()
    assert mined["true"] == mined["permuted"]
    assert all(texts["true", rule] == texts["permuted", rule] for rule in ("features", "text", "declared"))
    assert mined["true"] != mined["train"]  # the labels of training clips do matter
    assert texts["true", "features"] != texts["train", "features"]


def test_groups_of_clips_are_not_split(tmp_path):
    """Cuts of one film look alike and like no other film: only a classifier that has seen another cut is ever right."""
    films = [label for label in ("push", "pull") for _ in range(4)]
    world = write_world(tmp_path, [("train", label) for label in films for _ in range(2)])
    features = [
        {"clip_id": f"{n:03d}", "frame_TD": [(9.0 * np.eye(8)[n // 2]).astype(np.float16).tolist()]} for n in range(16)
    ]
    write_shard("features", [features], world["features"][0])
    scores = []
    for group in (None, "film"):
        rows = [
            row | {"group": group and f"film{int(row['clip_id']) // 2}"} for row in read_rows("clips", world["clips"])
        ]
        write_table("clips", rows, world["clips"], {"labels": LABELS, "pairs": []})
        mine_confusables(**(world | {"features": world["features"][:1]}))
        scores.append(next(row["score"] for row in read_rows("confusables", world["output"]) if row["label"] == "push"))
    assert scores[0] < 0.3 < 0.4 < scores[1]


def test_large_class_is_subsampled(tmp_path, monkeypatch):
    world = write_world(tmp_path, train_clips(9)) | {"options": ConfusablesOptions(clips_per_class=4)}
    seen = []
    monkeypatch.setattr("kinetext.texts.mining.confusion_scores", lambda x, y, *rest: seen.append(y) or np.eye(4))
    mine_confusables(**world)
    mine_confusables(**world | {"options": ConfusablesOptions(clips_per_class=20)})
    assert [np.bincount(target_B).tolist() for target_B in seen] == [[4] * 4, [9] * 4]


def test_rivals_from_a_file(tmp_path):
    world = write_world(tmp_path, train_clips(2))
    path = tmp_path / "rivals.csv"

    def mined(text, novel=()):
        path.write_text(text)
        splits = write_splits(world["clips"], list(novel))
        mine_confusables(**world | {"options": ConfusablesOptions(rivals=2, file=str(path)), "splits": splits})
        return [tuple(row.values()) for row in read_rows("confusables", world["output"]) if row["rule"] == "file"]

    assert mined("label,rival\npush,pull\npush,jump\n") == [  # one direction, in the order of the file
        ("push", "pull", 1.0, "file", 1),
        ("push", "jump", 1.0, "file", 2),
    ]
    assert mined("rival,score,label\npull,0.2,push\njump,3,push\nwave,1,push\npush,1,wave\n") == [
        ("push", "jump", 3.0, "file", 1),
        ("push", "wave", 1.0, "file", 2),
        ("wave", "push", 1.0, "file", 1),
    ]
    both = "label,rival\njump,wave\npush,jump\npush,pull\n"
    assert mined(both, ["pull", "jump"]) == []  # all pairs lie across trained and novel classes
    assert [row[:2] for row in mined(both, ["wave", "jump"])] == [("push", "pull"), ("jump", "wave")]
    for text, wrong in [
        (
            "label,rival\npush,pul\n",
            r"rivals.csv:2: 'pul' is none of the 4 classes of the data set; did you mean 'pull'",
        ),
        ("label,rival\n\npush,push\n", r"rivals.csv:3: 'push' is its own rival"),
        (
            "label,rival\npush,pull\npush, pull\n",
            r"rivals.csv:3: duplicate row of 'push' with the rival 'pull'",
        ),
        ("label,rival,score\npush,pull,\n", r"rivals.csv:2: score is ''; it must be a number above 0"),
        ("label,rival,score\npush,pull,-1\n", r"rivals.csv:2: score is '-1'; it must be a number above 0"),
        ("label,rivals\npush,pull\n", r"rivals.csv: no column 'rival'; did you mean 'rivals'"),
    ]:
        with pytest.raises(ValueError, match=wrong):
            mined(text)


def test_features_are_averaged_over_frames(tmp_path):
    rows = [{"clip_id": "a", "frame_TD": [[1.0, 2.0], [3.0, 6.0]]}, {"clip_id": "b", "frame_TD": [[5.0, 5.0]]}]
    write_shard("features", [rows[:1], rows[1:]], tmp_path / "0.arrow")
    features_BD, clip_ids = pooled_features([tmp_path / "0.arrow"], {"b", "a"})
    assert clip_ids == ["a", "b"]
    np.testing.assert_array_equal(features_BD, [[2.0, 4.0], [5.0, 5.0]])


def test_errors_name_place_fault_and_remedy(tmp_path):
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
