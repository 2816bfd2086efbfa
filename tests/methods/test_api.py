"""The Python interface: the example of docs/python.md runs, and errors are one sentence."""

import os
import re
import subprocess
import sys

import pytest
import yaml

import kinetext
from kinetext.core.paths import run_paths
from kinetext.core.tables import read_rows
from kinetext.evaluation.measure import measure_run
from kinetext.evaluation.predict import predict_clips
from kinetext.report.collect import collect_metrics
from kinetext.training.train import train_method
from repository import ROOT

EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(), flags=re.DOTALL)
FRAMES = {"num_frames": 8, "size_px": 64, "encoding": "raw"}


@pytest.fixture(scope="module")
def results(world, tmp_path_factory):
    """A results folder with one trained and measured run."""
    results = tmp_path_factory.mktemp("api") / "results"
    spec = yaml.safe_load(world.write_run(results / "draft", "mean_pool", epochs=1).read_text())
    folder = results / "runs" / spec["run"]
    folder.mkdir(parents=True)
    (folder / "run.yaml").write_text(yaml.safe_dump(spec | {"dataset_options": {"frames": FRAMES}}))
    paths = run_paths(folder, spec["run"])
    for source, target in (
        (world.splits(), paths.splits),
        (world.texts, paths.texts),
        (world.backbone, paths.weights.parent),
    ):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(source)
    checkpoint, predictions = folder / "checkpoint.safetensors", folder / "predictions.parquet"
    inputs = world.inputs()
    train_method(folder / "run.yaml", inputs, results / "cache", checkpoint)
    predict_clips(
        folder / "run.yaml", inputs.splits, [world.frames], world.texts, world.backbone, checkpoint, predictions
    )
    measure_run(folder, predictions, world.confusables, folder / "metrics.parquet")
    collect_metrics([folder], results, results / "tables")
    return results


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


@pytest.mark.parametrize("name", ["metrics", "runs", "texts", "confusions", "costs", "curves", "differences"])
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
