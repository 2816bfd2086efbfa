"""measure_run: its rows, their clips, and the width of the intervals."""

import math

import numpy as np
import pytest
import yaml

from kinetext.core.tables import read_rows, write_table
from kinetext.evaluation.intervals import bootstrap_interval
from kinetext.evaluation.measure import measure_run
from kinetext.evaluation.metrics.top_k import TopK
from kinetext.evaluation.predictions import Predictions
from kinetext.evaluation.rivals import split_rivals, top_pairs

SPEC = {
    "run": "shapes/supervised/tiny/stan/names/seed0",
    "dataset": "shapes",
    "protocol": "supervised",
    "method": "stan",
    "texts": "names",
    "backbone": "tiny",
    "seed": 0,
    "method_module": "stan",
    "method_options": {},
    "training": {},
    "dataset_options": {},
    "backbone_options": {},
    "text_options": {},
    "fingerprint": "f00d",
}
MINED = [
    {"label": "left", "rival": "down", "score": 0.9, "rule": "features", "rank": 1},  # "down" is not in the split
    {"label": "left", "rival": "right", "score": 0.8, "rule": "features", "rank": 2},
    {"label": "right", "rival": "left", "score": 0.7, "rule": "features", "rank": 1},
    {"label": "down", "rival": "left", "score": 0.9, "rule": "declared", "rank": 1},
]


@pytest.fixture
def run(tmp_path):
    """A run of four clips and three classes: three right when ordered, none when repeated."""
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(SPEC))
    right = {"ordered": [0, 1, 2], "repeated": []}
    rows = []
    for frame_order, clips in right.items():
        for b, target in enumerate([0, 1, 2, 0]):
            score = [0.0, 0.0, 0.0]
            score[target if b in clips else (target + 1) % 3] = 1.0
            rows.append(
                {"clip_id": f"c{b}", "split": "test", "frame_order": frame_order, "target": target, "score_K": score}
            )
    metadata = {"labels": {"test": ["left", "right", "up"]}, "predict_clips_per_s": 10.0, "failed": {"test": []}}
    write_table("predictions", rows, tmp_path / "predictions.parquet", metadata)
    write_table("confusables", MINED, tmp_path / "confusables.parquet")
    return tmp_path


def measured(run):
    measure_run(run, run / "predictions.parquet", run / "confusables.parquet", run / "metrics.parquet")
    return {(row["frame_order"], row["metric"]): row for row in read_rows("metrics", run / "metrics.parquet")}


def test_all_metrics_are_measured_for_all_frame_orders(run):
    rows = measured(run)
    plain = {"top1", "top5", "mean_class_accuracy", "pair_accuracy:features"}
    assert {name for order, name in rows if order == "repeated"} == plain  # "declared" has no rival in this split
    assert {name for order, name in rows if order == "ordered"} == plain | {"pair_accuracy:features:left/right"}
    top1 = rows["ordered", "top1"]
    assert (top1["value"], top1["clips"], rows["repeated", "top1"]["value"]) == (3 / 4, 4, 0.0)
    assert top1["low"] < 3 / 4 < top1["high"]
    assert (top1["dataset"], top1["split"], top1["method"], top1["fingerprint"]) == ("shapes", "test", "stan", "f00d")


def test_pair_accuracy_counts_clips_of_classes_with_a_rival(run):
    rows = measured(run)
    row = rows["ordered", "pair_accuracy:features"]
    assert (row["value"], row["clips"]) == (2 / 3, 3)  # left, right, left; "up" has no rival


def test_measuring_twice_gives_the_same_numbers(run):
    first = measured(run)
    assert measured(run) == first


def test_a_folder_without_run_yaml_is_an_error_with_its_path(run):
    (run / "run.yaml").unlink()
    with pytest.raises(ValueError, match=r"run\.yaml is missing"):
        measured(run)


def test_rivals_outside_the_split_are_skipped():
    assert split_rivals(MINED, "features", ["left", "right"]) == {"left": ["right"], "right": ["left"]}
    assert split_rivals(MINED, "features", ["left", "down"]) == {"left": ["down"]}
    assert split_rivals(MINED, "declared", ["left", "right"]) == {}


def test_rivals_are_sorted_by_rank():
    assert split_rivals(MINED[::-1], "features", ["left", "right", "down"])["left"] == ["down", "right"]


def test_top_pairs_are_unique_and_sorted_by_score():
    mined = [
        {"label": a, "rival": b, "score": s, "rule": "text", "rank": 1}
        for a, b, s in [("a", "b", 0.2), ("b", "a", 0.9), ("c", "d", 0.5), ("d", "a", 0.1)]
    ]
    assert top_pairs(mined, "text", list("abcd"), 9) == [("b", "a"), ("c", "d"), ("d", "a")]
    assert top_pairs(mined, "text", list("abcd"), 1) == [("b", "a")]


def coin(num_clips, num_right):
    """Two classes, the first `num_right` clips right."""
    target_B = np.zeros(num_clips, int)
    first_B = np.where(np.arange(num_clips) < num_right, 1.0, 0.0)
    return Predictions(["a", "b"], target_B, np.stack([first_B, 0.5 + 0 * first_B], axis=1))


def test_the_interval_has_the_width_of_the_binomial_distribution():
    low, high = bootstrap_interval(TopK(), coin(400, 300))
    wanted = 1.96 * math.sqrt(0.75 * 0.25 / 400)  # 0.042
    assert (0.75 - low, high - 0.75) == (pytest.approx(wanted, rel=0.15), pytest.approx(wanted, rel=0.15))


def test_fewer_clips_or_a_higher_level_give_a_wider_interval():
    def width(clips, level=0.95):
        low, high = bootstrap_interval(TopK(), clips, level=level)
        return high - low

    assert width(coin(40, 30)) > 2 * width(coin(400, 300))
    assert width(coin(400, 300), level=0.5) < 0.6 * width(coin(400, 300))


def test_the_interval_without_clips_is_nan():
    assert all(math.isnan(end) for end in bootstrap_interval(TopK(), coin(0, 0)))
