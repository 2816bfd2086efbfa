"""A results folder with one trained and measured run, as the workflow leaves it."""

from pathlib import Path

import yaml

from few_draws import measure_quickly
from kinetext.core.paths import run_paths
from kinetext.evaluation.predict import predict_clips
from kinetext.report.collect import collect_metrics
from kinetext.training.train import train_method

FRAMES = {"num_frames": 8, "size_px": 64, "encoding": "raw"}


def make_results(world, results: Path, frames: dict = FRAMES, **training) -> Path:
    """Train, test, measure and collect `mean_pool` on the clips of a world. `frames` are the options of its frames."""
    spec = yaml.safe_load(world.write_run(results / "draft", "mean_pool", epochs=1, **training).read_text())
    folder = results / "runs" / spec["run"]
    folder.mkdir(parents=True)
    (folder / "run.yaml").write_text(yaml.safe_dump(spec | {"dataset_options": {"frames": frames}}))
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
    measure_quickly(folder, predictions, world.confusables, folder / "metrics.parquet")
    collect_metrics([folder], results, results / "tables")
    return results
