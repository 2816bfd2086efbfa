"""The whole workflow on rendered shapes with two labels a clip: from a list to the report, MLflow and `classify`."""

import csv

import yaml

from calls import snakemake
from kinetext.core.tables import read_metadata, read_rows
from kinetext.evaluation.classify import classify
from kinetext.evaluation.export import export_predictions
from reported import Page
from several import write_clips

RUNS = "results/runs/mine/supervised/tiny"


def write_config(folder):
    """A configuration of an untrained and a trained method on clips with a motion and a colour each."""
    training = {"image_encoder": "frozen", "epochs": 2, "batch_size": 8, "lr": 1e-3, "select": "best_val"}
    config = {
        "results": "results",
        "backbones": {"tiny": {"model": "kinetext-tiny"}},
        "datasets": {
            "mine": {
                "module": "csv",
                "options": write_clips(folder),
                "frames": {"num_frames": 8, "size_px": 64, "encoding": "raw"},
            }
        },
        "confusables": {"folds": 2},
        "texts": {"names": {}},
        "methods": {"zero_shot": {}, "mean_pool": {"training": training}},
        "experiments": {
            "two_labels": {
                "datasets": ["mine"],
                "backbone": "tiny",
                "methods": ["zero_shot", "mean_pool"],
                "texts": ["names"],
            }
        },
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return (folder / "config.yaml",)


def test_clips_with_two_labels_from_the_list_to_the_report(tmp_path, capsys):
    done = snakemake(tmp_path, configs=write_config(tmp_path), fresh=True)
    assert done.returncode == 0, done.output
    tables = tmp_path / "results/tables"
    metrics = read_rows("metrics", tables / "metrics.parquet")
    assert {row["metric"] for row in metrics} == {"map", "lrap"}
    assert all(row["low"] <= row["value"] <= row["high"] for row in metrics)
    curves = {row["metric"] for row in read_rows("collected_curves", tables / "curves.parquet")}
    assert {"val_map", "train_loss"} <= curves
    assert read_rows("confusions", tables / "confusions.parquet") == []
    (difference, _) = read_rows("differences", tables / "differences.parquet")
    assert (difference["metric"], difference["clips"]) == ("lrap", 4)

    costs = {row["method"]: row for row in read_rows("costs", tables / "costs.parquet")}
    assert costs["zero_shot"]["trained_parameters"] == costs["zero_shot"]["new_parameters"] == 0
    assert costs["zero_shot"]["train_seconds"] == 0
    assert costs["zero_shot"]["gflops_per_clip"] == costs["mean_pool"]["gflops_per_clip"] > 0
    assert costs["mean_pool"]["train_peak_mib"] > 10

    page = Page((tmp_path / "results/report.html").read_text())
    assert "map" in page.text["results"]
    assert "calibration" not in page.sections
    assert "nothing was trained" in page.text["cost"]

    run = tmp_path / RUNS / "mean_pool/names/seed0"
    assert read_metadata(run / "predictions.parquet")["calibration"]["odds"]
    assert classify([tmp_path / "videos/test-0-0.mp4"], run) == (1, 0)
    printed = capsys.readouterr().out
    assert "red" in printed
    assert "shares are" in printed
    export_predictions(run, tmp_path / "out.csv")
    rows = list(csv.DictReader((tmp_path / "out.csv").open(encoding="utf-8-sig")))
    assert {row["label"] for row in rows} == {
        " | ".join(sorted((motion, colour))) for motion in ("moving left", "moving right") for colour in ("red", "blue")
    }
