"""Commands for one run: its specification, training, prediction and metrics."""

import json
from pathlib import Path
from typing import Annotated

import typer

from kinetext.cli.options import (
    BackboneFolder,
    CacheFolder,
    ConfusablesFile,
    FramesFile,
    Gpus,
    Nodes,
    RunFile,
    SplitsFile,
    TextsFile,
    Threads,
    Tracking,
    parse_options,
)

app = typer.Typer()


@app.command()
def plan_run(
    spec: Annotated[str, typer.Option(help="the run as JSON")],
    output: Annotated[Path, typer.Option(help="run.yaml to write")],
    setting: Annotated[Path | None, typer.Option(help="setting.yaml of a tuned run")] = None,
    trained: Annotated[Path | None, typer.Option(help="run.yaml of a tuned run whose checkpoint is tested")] = None,
) -> None:
    """Write the complete specification of one run."""
    from kinetext import plan as module

    module.plan_run(spec, output, setting, trained)


@app.command()
def train_method(
    run: RunFile,
    splits: SplitsFile,
    frames: FramesFile,
    texts: TextsFile,
    confusables: ConfusablesFile,
    backbone: BackboneFolder,
    cache: CacheFolder,
    output: Annotated[Path, typer.Option(help="checkpoint.safetensors to write; curves and cost go beside it")],
    threads: Threads = 1,
    gpus: Gpus = 1,
    nodes: Nodes = 1,
    tracking: Tracking = "",
) -> None:
    """Train a method. An interrupted training resumes from its last saved state.

    `tracking` sends the curves to MLflow during the training. Snakemake passes it as an environment variable, because a
    changed option of the command would make Snakemake train every run again.
    """
    from kinetext.core.launch import launch

    if launch(gpus, nodes):
        return
    from kinetext.config.report import TrackingOptions
    from kinetext.core import distributed
    from kinetext.data.checks import list_shards
    from kinetext.tracking.live import live_curves
    from kinetext.training import train as module
    from kinetext.training.setup import Inputs

    inputs = Inputs(splits, list_shards(frames), texts, confusables, backbone)
    options = parse_options(TrackingOptions, tracking or '{"enabled": false}')
    with distributed.process_group():
        if distributed.rank() > 0:  # only the first process reports
            module.train_method(run, inputs, cache, output, threads)
            return
        with live_curves(run, splits, cache.parent, options) as on_curves:
            module.train_method(run, inputs, cache, output, threads, on_curves)


@app.command()
def predict_clips(
    run: RunFile,
    splits: SplitsFile,
    frames: FramesFile,
    texts: TextsFile,
    backbone: BackboneFolder,
    output: Annotated[Path, typer.Option(help="predictions.parquet to write")],
    checkpoint: Annotated[Path | None, typer.Option(help="checkpoint.safetensors; none if nothing was trained")] = None,
    threads: Threads = 1,
    gpus: Gpus = 1,
    nodes: Nodes = 1,
    cache: Annotated[Path | None, typer.Option(help="folder of cached replies, of a method that asks a server")] = None,
) -> None:
    """Score every test clip for every class or caption, with its frames in order and under the motion probes.

    With `cache`, one detached process asks the server, so that a kill of the command loses no paid answer.
    """
    from kinetext.core.detached import run_detached
    from kinetext.core.launch import launch

    if cache is not None:
        run_detached()
        launch(0, 1)
    elif launch(gpus, nodes):
        return
    from kinetext.core import distributed
    from kinetext.data.checks import list_shards
    from kinetext.evaluation import predict as module

    with distributed.process_group():
        module.predict_clips(run, splits, list_shards(frames), texts, backbone, checkpoint, output, threads, cache)


@app.command()
def measure_run(
    run: Annotated[Path, typer.Option(help="run folder")],
    predictions: Annotated[Path, typer.Option(help="predictions.parquet of the run")],
    confusables: ConfusablesFile,
    output: Annotated[Path, typer.Option(help="metrics.parquet to write")],
    metrics: Annotated[str, typer.Option(help="`metrics` of config.yaml, as JSON: beside the built-in ones")] = "{}",
) -> None:
    """Compute the metrics of a run with their confidence intervals."""
    from kinetext.config.report import MetricOptions
    from kinetext.evaluation import measure as module

    added = {name: parse_options(MetricOptions, json.dumps(one)) for name, one in json.loads(metrics).items()}
    module.measure_run(run, predictions, confusables, output, added)
