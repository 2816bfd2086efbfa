"""Several labels a clip: lists, splits, what is refused, and average precision."""

import numpy as np
import pytest
import yaml

from kinetext.config.data import DatasetOptions, ProtocolOptions
from kinetext.core.tables import read_metadata, read_rows, write_table
from kinetext.data.datasets.base import Clip, build_dataset
from kinetext.data.splits import read_splits, split_clips
from kinetext.evaluation.average_precision import mean_average_precision, ranking_precisions, sort_scores
from kinetext.evaluation.calibration import fit_odds, sigmoid
from kinetext.evaluation.measure import measure_run
from kinetext.plan import check_config


def listed(tmp_path, text: str, **options) -> dict[str, Clip]:
    (tmp_path / "videos").mkdir(exist_ok=True)
    for name in "abc":
        (tmp_path / f"videos/{name}.mp4").touch()
    (tmp_path / "list.csv").write_text(text)
    options = {"root": str(tmp_path / "videos"), "list": str(tmp_path / "list.csv"), "multi_label": True, **options}
    dataset = build_dataset("mine", DatasetOptions(module="csv", options=options))
    return {clip.clip_id: clip for clip in dataset.list_clips(tmp_path)}


def test_labels_come_in_one_row_or_in_several(tmp_path):
    text = "path,split,label\na.mp4,train,push_up|sit up\nb.mp4,train,walk\nb.mp4,train,push up\nb.mp4,train,walk|run\n"
    clips = listed(tmp_path, text + "c.mp4,test,run| |walk\n")
    assert {i: (clip.label, clip.labels) for i, clip in clips.items()} == {
        "a.mp4": (None, ["push up", "sit up"]),
        "b.mp4": (None, ["walk", "push up", "run"]),
        "c.mp4": (None, ["run", "walk"]),
    }
    clips = listed(tmp_path, "path,split,label\na.mp4,train,x|y; z\n", label_separator=";")
    assert clips["a.mp4"].labels == ["x|y", "z"]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("path,split,label\na.mp4,train,x\na.mp4,test,y\n", {}, "list.csv:3: clip 'a.mp4' is already in line 2"),
        ("path,split,label\na.mp4,train,x|y\nb.mp4,test,x|z\n", {}, "list.csv:3: 'z' is none of the 2 classes"),
        ("path,split,label\na.mp4,train,|\n", {}, r"list.csv:2: label is '\|', which has no name"),
        ("path,split,caption\na.mp4,train,a man\n", {}, "list.csv:2: has a caption, but multi_label is true"),
        ("path;split;label\n", {"delimiter": ";", "label_separator": ";"}, "contains the delimiter ';'"),
        (
            "path,split,label\na.mp4,train,x\na.mp4,train,y\n",
            {"multi_label": False},
            "list.csv:3: .* or in their labels with multi_label: true",
        ),
    ],
)
def test_a_wrong_row_is_named(tmp_path, text, options, message):
    with pytest.raises(ValueError, match=message):
        listed(tmp_path, text, **options)


def test_splits_keep_the_labels_and_refuse_protocols_that_draw_by_class(tmp_path):
    rows = [
        {"clip_id": name, "path": "x", "split": split, "labels": labels}
        for name, split, labels in (("a", "train", ["x", "y"]), ("b", "test", ["y"]), ("c", "test", ["x", "y"]))
    ]
    write_table("clips", rows, tmp_path / "clips.parquet", {"labels": ["x", "y"], "multi_label": True})
    split_clips("mine", tmp_path / "clips.parquet", [], "supervised", ProtocolOptions(), tmp_path / "splits.parquet")
    splits = read_splits(tmp_path / "splits.parquet")
    assert [(row["clip_id"], row["label"], row["labels"]) for row in splits["test"].rows] == [
        ("b", None, ["y"]),
        ("c", None, ["x", "y"]),
    ]
    assert splits["test"].multi_label
    assert splits["test"].labels == ["x", "y"]
    with pytest.raises(
        ValueError, match="mine: few_shot_2: clips have several labels each, which only supervised serves"
    ):
        split_clips("mine", tmp_path / "clips.parquet", [], "few_shot_2", ProtocolOptions(), tmp_path / "few.parquet")


def config(tmp_path, protocol="supervised", method=None, **experiment):
    listed(tmp_path, "path,split,label\na.mp4,train,x|y\nb.mp4,test,x\n")
    options = {"root": str(tmp_path / "videos"), "list": str(tmp_path / "list.csv"), "multi_label": True}
    return {
        "backbones": {"tiny": {"model": "kinetext-tiny"}},
        "datasets": {"mine": {"module": "csv", "options": options, "frames": {"size_px": 64}}},
        "texts": {"names": {}},
        "methods": {"m": method or {"module": "mean_pool"}},
        "experiments": {
            "e": {"datasets": ["mine"], "protocol": protocol, "backbone": "tiny", "methods": ["m"], "texts": ["names"]}
        },
    }


@pytest.mark.parametrize(
    ("protocol", "method", "message"),
    [
        ("few_shot_4", None, "mine has several labels per clip, which only supervised serves; take supervised"),
        ("supervised", {"module": "linear_probe"}, "mine has several labels per clip, and m serves classes only"),
        (
            "supervised",
            {"module": "mean_pool", "training": {"mixup": 0.2}},
            "training.mixup is for clips with one class each, and datasets.mine has several labels per clip",
        ),
        (
            "supervised",
            {"module": "mean_pool", "testing": {"average": "probabilities"}},
            "several labels per clip, whose scores are no softmax; take logits",
        ),
    ],
)
def test_what_cannot_serve_several_labels_is_refused_before_anything_runs(tmp_path, protocol, method, message):
    check_config(config(tmp_path))
    with pytest.raises(ValueError, match=message):
        check_config(config(tmp_path, protocol, method))


# ---- average precision


def draw_scores(clips=60, classes=7, levels=12):
    """Scores with many ties and labels that they say something about."""
    random = np.random.default_rng(0)
    labels_BK = random.random((clips, classes)) < 0.3
    labels_BK[:, 3] = False  # a class without clips
    scores_BK = random.integers(levels, size=(clips, classes)) + 3 * labels_BK
    return scores_BK.astype(float), labels_BK


def test_average_precision_equals_scikit_learns():
    from sklearn.metrics import average_precision_score, label_ranking_average_precision_score

    scores_BK, labels_BK = draw_scores()
    value_K = sort_scores(scores_BK, labels_BK).precisions()
    counted = [k for k in range(7) if k != 3]
    wanted = [average_precision_score(labels_BK[:, k], scores_BK[:, k]) for k in counted]
    assert value_K[counted] == pytest.approx(wanted)
    assert np.isnan(value_K[3])
    assert mean_average_precision(scores_BK, labels_BK) == pytest.approx(
        average_precision_score(labels_BK[:, counted], scores_BK[:, counted], average="macro")
    )
    several = labels_BK.any(1)
    assert np.mean(ranking_precisions(scores_BK, labels_BK)[several]) == pytest.approx(
        label_ranking_average_precision_score(labels_BK[several], scores_BK[several])
    )


def test_drawn_clips_have_the_precision_of_their_copies():
    scores_BK, labels_BK = draw_scores()
    rows = np.random.default_rng(1).integers(60, size=60)
    taken = sort_scores(scores_BK, labels_BK).take(rows)
    assert len(taken) == 60
    assert taken.mean() == pytest.approx(mean_average_precision(scores_BK[rows], labels_BK[rows]))


def test_average_precision_by_hand():
    # sorted: right, wrong, right: precisions 1 and 2/3 at the two right ones
    assert mean_average_precision(np.array([[3.0], [2.0], [1.0]]), np.array([[1], [0], [1]]) > 0) == pytest.approx(
        (1 + 2 / 3) / 2
    )
    lost = np.array([[np.nan], [2.0], [1.0]])  # without frames: last, and its label is found at the end
    assert mean_average_precision(lost, np.array([[1], [0], [1]]) > 0) == pytest.approx((1 / 2 + 2 / 3) / 2)
    ranked = ranking_precisions(np.array([[3.0, 2.0, 1.0], [np.nan] * 3]), np.array([[1, 0, 1], [1, 0, 1]]) > 0)
    assert ranked.tolist() == pytest.approx([(1 + 2 / 3) / 2, 2 / 3])
    assert np.isnan(mean_average_precision(np.zeros((0, 3)), np.zeros((0, 3), bool)))


def test_odds_are_fitted_to_the_labels_of_validation_clips():
    random = np.random.default_rng(0)
    logits_BK = random.normal(size=(3000, 6)) * 2 - 1
    labels_BK = random.random(logits_BK.shape) < sigmoid(logits_BK)
    fitted = fit_odds(20 * logits_BK + 300, labels_BK)
    assert (fitted.reason, fitted.clips, fitted.odds) == (None, 3000, True)
    assert (fitted.temperature, fitted.offset) == (pytest.approx(20, rel=0.05), pytest.approx(15, rel=0.05))
    assert fitted.shares(20 * logits_BK + 300) == pytest.approx(sigmoid(logits_BK), abs=0.02)
    assert "without an error" in fit_odds(np.eye(3), np.eye(3, dtype=bool)).sentence()
    assert "no better than chance" in fit_odds(-logits_BK, labels_BK).sentence()
    assert "no validation clips" in fit_odds(np.zeros((0, 2)), np.zeros((0, 2), bool)).sentence()


def test_a_run_with_several_labels_has_their_metrics_alone(tmp_path):
    spec = {key: key for key in ("dataset", "protocol", "backbone", "method", "texts", "method_module")}
    spec |= {"run": "r", "seed": 0, "fingerprint": "f", "training": {}}
    spec |= {key: {} for key in ("method_options", "dataset_options", "backbone_options", "text_options")}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(spec))
    rows = [
        {"clip_id": f"c{b}", "split": "test", "frame_order": order, "targets": targets, "score_K": score_K}
        for order in ("ordered", "reversed")
        for b, (targets, score_K) in enumerate([([0, 1], [2.0, 1.0, 0.0]), ([1], [1.0, 2.0, 3.0])])
    ]
    metadata = {"labels": {"test": list("xyz")}, "multi_label": True}
    write_table("predictions", rows, tmp_path / "predictions.parquet", metadata)
    write_table("confusables", [], tmp_path / "confusables.parquet")
    measure_run(tmp_path, tmp_path / "predictions.parquet", tmp_path / "confusables.parquet", tmp_path / "m.parquet")
    measured = {
        (row["frame_order"], row["metric"]): row["value"] for row in read_rows("metrics", tmp_path / "m.parquet")
    }
    assert measured == {(order, "map"): 1.0 for order in ("ordered", "reversed")} | {
        (order, "lrap"): pytest.approx((1 + 1 / 2) / 2) for order in ("ordered", "reversed")
    }
    assert read_metadata(tmp_path / "predictions.parquet")["multi_label"]
