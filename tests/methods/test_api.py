"""The Python interface: the example of docs/python.md runs, and errors are one sentence."""

import csv
import os
import re
import subprocess
import sys

import pytest

import kinetext
from kinetext.core.tables import read_rows
from kinetext.evaluation.export import export_predictions
from kinetext.evaluation.predictions import read_predictions
from repository import ROOT
from results import make_results

EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(), flags=re.DOTALL)


@pytest.fixture(scope="module")
def results(world, tmp_path_factory):
    """A results folder with one trained and measured run."""
    return make_results(world, tmp_path_factory.mktemp("api") / "results")


@pytest.fixture
def run_folder(results):
    (path,) = results.glob("runs/**/run.yaml")
    return path.parent


def test_the_examples_of_the_documentation_run(world, results, run_folder, monkeypatch, capsys):
    videos = [row["path"] for row in read_rows("clips", world.clips) if row["split"] == "test"]
    monkeypatch.chdir(results.parent)
    if not os.path.exists("config.yaml"):
        os.symlink(ROOT / "config.yaml", "config.yaml")
    os.symlink(videos[0], "a.mp4")
    names = {}
    for example in EXAMPLES:
        example = re.sub(r'"results/runs/[^"]+"', f'"{run_folder.relative_to(results.parent)}"', example)
        exec(example, names)
    assert len(names["answers"].filter(names["answers"]["clip"].to_numpy() == "a.mp4")) == 4  # classes
    rows = names["answers"].to_pylist()
    assert [row["rank"] for row in rows] == [1, 2, 3, 4, None]
    assert sum(row["share"] or 0 for row in rows) == pytest.approx(1)
    assert rows[-1]["clip"] == "b.mp4"  # which does not exist
    assert rows[-1]["error"]
    assert rows[-1]["label"] is None
    assert names["metrics"].num_rows == names["run"].metrics().num_rows
    assert len(names["specs"]) > 5
    assert names["method"].new_parameters()
    assert "a.mp4" in capsys.readouterr().out


def test_a_run_has_its_tables_and_its_specification(run_folder):
    run = kinetext.load_run(run_folder)
    assert run.spec.method == "mean_pool"
    assert repr(run) == f"Run({run.spec.run!r})"
    assert {"metric", "value"} <= set(run.metrics().column_names)
    assert run.predictions().num_rows > 0
    assert "train_loss" in run.curves()["metric"].to_pylist()


@pytest.mark.parametrize(
    "name", ["metrics", "runs", "texts", "confusions", "hard_clips", "costs", "curves", "differences", "risk_coverage"]
)
def test_every_table_of_a_results_folder_is_read_by_its_name(results, name):
    assert kinetext.read_table(name, results).column_names


def test_errors_are_one_sentence(results, tmp_path):
    with pytest.raises(ValueError, match="no table 'metric'; did you mean 'metrics'"):
        kinetext.read_table("metric", results)
    with pytest.raises(ValueError, match=r"metrics.parquet: there is no such file; run the workflow first"):
        kinetext.read_table("metrics", tmp_path)
    with pytest.raises(ValueError, match=r"run.yaml"):
        kinetext.load_run(tmp_path)
    with pytest.raises(ValueError, match="there is no such file"):
        kinetext.check_config(tmp_path / "config.yaml")
    with pytest.raises(ValueError, match="neither `pretrained` nor `weights`"):
        kinetext.load_backbone("ViT-B-16")
    with pytest.raises(AttributeError, match="load_runs"):
        kinetext.load_runs  # noqa: B018


@pytest.mark.parametrize(
    "wrong", ["results", "results/runs/shapes", "results/runs/shapes/supervised/tiny/mean_pool", "typo"]
)
def test_a_wrong_run_folder_is_answered_by_the_nearest_one(results, run_folder, monkeypatch, wrong):
    monkeypatch.chdir(results.parent)
    name = str(run_folder.relative_to(results.parent))
    folder = name.replace("mean_pool", "men_pool") if wrong == "typo" else wrong
    with pytest.raises(ValueError, match=re.escape(f"run.yaml is missing; did you mean {name}?")):
        kinetext.load_run(folder)


def test_predictions_are_exported_as_a_row_for_each_test_clip(run_folder, tmp_path):
    export_predictions(run_folder, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    (predictions,) = read_predictions(run_folder / "predictions.parquet", "ordered").values()
    assert [row["clip_id"] for row in rows] == predictions.clip_ids
    right = [row["label"] == row["predicted"] for row in rows]
    assert [row["correct"] for row in rows] == [str(int(yes)) for yes in right]
    metrics = kinetext.load_run(run_folder).metrics().to_pylist()
    (top1,) = [row["value"] for row in metrics if (row["metric"], row["frame_order"]) == ("top1", "ordered")]
    assert sum(right) / len(right) == top1
    assert all(
        (row["rank"] == "1") == yes and 0 < float(row["share"]) <= 1 for row, yes in zip(rows, right, strict=True)
    )


def test_a_backbone_is_loaded_from_its_folder_and_a_method_takes_its_options(tiny_folder):
    backbone = kinetext.load_backbone(tiny_folder)
    assert not backbone.training
    assert kinetext.build_method("stan", backbone, layers=2).config.layers == 2
    with pytest.raises(ValueError, match="layer: unknown key; did you mean 'layers'"):
        kinetext.build_method("stan", backbone, layer=2)


def test_importing_kinetext_imports_nothing_heavy():
    program = (
        "import sys, kinetext\n"
        "assert set(kinetext.__all__) <= set(dir(kinetext))\n"
        "assert not {'torch', 'pyarrow', 'pydantic'} & set(sys.modules)\n"
        "kinetext.read_table\n"
        "assert not {'torch', 'open_clip', 'mlflow', 'pandas'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
