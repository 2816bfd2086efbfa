"""measure_run: its rows, their clips and the groups of these."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from kinetext.core.tables import read_rows, read_table, write_table
from kinetext.evaluation.kinds import is_by_kind
from kinetext.evaluation.measure import measure_run, pseudo_values
from kinetext.evaluation.predictions import read_predictions
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
    assert {name for order, name in rows if order == "ordered"} == plain | {
        *("pair_accuracy:features:left/right", "ece", "aurc")  # under a motion probe calibration is not measured
    }
    top1 = rows["ordered", "top1"]
    assert (top1["value"], top1["clips"], rows["repeated", "top1"]["value"]) == (3 / 4, 4, 0.0)
    assert top1["low"] < 3 / 4 < top1["high"]
    assert (top1["dataset"], top1["split"], top1["method"], top1["fingerprint"]) == ("shapes", "test", "stan", "f00d")


def test_pair_accuracy_counts_clips_of_classes_with_a_rival(run):
    rows = measured(run)
    row = rows["ordered", "pair_accuracy:features"]
    assert (row["value"], row["clips"]) == (2 / 3, 3)  # left, right, left; "up" has no rival


def test_accuracy_is_measured_for_each_kind_of_motion(run):
    table = read_table("predictions", run / "predictions.parquet")
    kinds = {"c0": "loop", "c1": "loop", "c2": "turn"}  # that of c3 is unknown
    kind = pa.array([kinds.get(clip) for clip in table["clip_id"].to_pylist()], pa.string())
    table = table.set_column(table.schema.names.index("kind"), "kind", kind)
    write_table("predictions", table, run / "predictions.parquet", {"labels": {"test": ["left", "right", "up"]}})
    rows = measured(run)
    by_kind = {name: (row["value"], row["clips"], row["chance"]) for (_, name), row in rows.items() if "kind" in name}
    assert by_kind == {
        "kind_accuracy:loop": (1.0, 2, pytest.approx(1 / 3)),
        "kind_accuracy:turn": (1.0, 1, pytest.approx(1 / 3)),
        "kind_pair_accuracy:features:loop": (1.0, 2, 0.5),  # "up" has no rival
    }
    assert all(order == "ordered" for order, name in rows if "kind" in name)
    predictions = read_predictions(run / "predictions.parquet")["test", "ordered"]
    values = pseudo_values(predictions, MINED)
    assert values["kind_accuracy:loop"].tolist()[:2] == [1.0, 1.0]
    assert np.isnan(values["kind_accuracy:loop"]).tolist() == [False, False, True, True]
    assert set(by_kind) == {name for name in values if is_by_kind(name)}


def test_clips_of_one_kind_have_no_accuracy_by_kind(run):
    table = read_table("predictions", run / "predictions.parquet")
    kind = pa.array(["loop"] * len(table), pa.string())
    table = table.set_column(table.schema.names.index("kind"), "kind", kind)
    write_table("predictions", table, run / "predictions.parquet", {"labels": {"test": ["left", "right", "up"]}})
    assert not any("kind" in name for _, name in measured(run))


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


def test_the_first_rival_is_the_one_of_the_lowest_rank():
    assert split_rivals(MINED[::-1], "features", ["left", "right", "down"])["left"] == ["down"]


def test_top_pairs_are_unique_and_sorted_by_score():
    mined = [
        {"label": a, "rival": b, "score": s, "rule": "text", "rank": 1}
        for a, b, s in [("a", "b", 0.2), ("b", "a", 0.9), ("c", "d", 0.5), ("d", "a", 0.1)]
    ]
    assert top_pairs(mined, "text", list("abcd"), 9) == [("b", "a"), ("c", "d"), ("d", "a")]
    assert top_pairs(mined, "text", list("abcd"), 1) == [("b", "a")]


@pytest.fixture
def films(run):
    """The same run, its first two clips cut from one film."""
    table = read_table("predictions", run / "predictions.parquet")
    group = pa.array(["film" if clip in ("c0", "c1") else None for clip in table["clip_id"].to_pylist()], pa.string())
    table = table.set_column(table.schema.names.index("group"), "group", group)
    write_table("predictions", table, run / "predictions.parquet", {"labels": {"test": ["left", "right", "up"]}})
    return run


def test_clips_of_one_film_are_one_group(run, films):
    top1 = measured(films)["ordered", "top1"]
    assert (top1["clips"], top1["groups"]) == (4, 3)
    assert top1["variance"] == pytest.approx(3 / 2 * (0.5**2 + 0.25**2 + 0.75**2) / 16)  # residuals of the three
    pair = measured(films)["ordered", "pair_accuracy:features"]
    assert (pair["clips"], pair["groups"]) == (3, 2)  # c2 has no rival


def test_older_predictions_have_every_clip_as_its_own_group(run):
    table = read_table("predictions", run / "predictions.parquet").drop_columns(["group"])
    older = table.replace_schema_metadata({**table.schema.metadata, b"schema_version": b"3"})
    pq.write_table(older, run / "predictions.parquet")
    assert measured(run)["ordered", "top1"]["groups"] == 4


NOTHING = {"trained_parameters": 0, "new_parameters": 0, "train_seconds": 0.0}


@pytest.mark.parametrize(
    ("cost", "untrained"),
    [
        (NOTHING, True),
        (NOTHING | {"new_parameters": 8}, False),  # drawn at random, by the seed
        (NOTHING | {"requests_per_clip": 1.0}, False),  # the seed orders the choices
        ({"gflops_per_clip": 1.0}, False),  # with a checkpoint
        (None, False),  # of an earlier version
    ],
)
def test_rows_without_a_seed_are_known_by_their_cost(run, cost, untrained):
    table = read_rows("predictions", run / "predictions.parquet")
    metadata = {"labels": {"test": ["left", "right", "up"]}} | ({"cost": cost} if cost else {})
    write_table("predictions", table, run / "predictions.parquet", metadata)
    assert read_predictions(run / "predictions.parquet")["test", "ordered"].untrained is untrained
