"""Commands of the workflow: one per rule, named like the rule, in the order of the data flow."""

import json
from pathlib import Path
from typing import Annotated

import typer

from kinetext.cli.options import (
    BackboneFolder,
    CacheFolder,
    ClipsFile,
    ConfusablesFile,
    FramesFile,
    Gpus,
    Json,
    Name,
    Nodes,
    ResultsFolder,
    RunFile,
    RunFolders,
    SplitsFile,
    TextsFile,
    Threads,
    Tracking,
    parse_options,
)

app = typer.Typer()


@app.command()
def index_clips(
    name: Name,
    options: Json,
    output: Annotated[Path, typer.Option(help="clips.parquet to write")],
    shards: Annotated[Path, typer.Option(help="shards.txt to write: name and digest of each frame shard")],
    media: Annotated[Path, typer.Option(help="folder for the videos that a data set generates")],
    cache: CacheFolder,
) -> None:
    """List the clips of a data set."""
    from kinetext.config.data import DatasetOptions
    from kinetext.data import index as module

    module.index_clips(name, parse_options(DatasetOptions, options), output, shards, media, cache)


@app.command()
def extract_frames(
    clips: ClipsFile,
    shard: Annotated[str, typer.Option(help="name of the shard")],
    options: Json,
    output: Annotated[Path, typer.Option(help="frame shard to write, .arrow")],
    threads: Threads = 1,
    cache: Annotated[Path | None, typer.Option(help="folder of frame shards that any later run may reuse")] = None,
) -> None:
    """Decode the frames of one shard of clips."""
    from kinetext.config.data import FrameOptions
    from kinetext.data import frames as module

    module.extract_frames(clips, shard, parse_options(FrameOptions, options), output, threads, cache)


@app.command()
def check_frames(
    shards: Annotated[Path, typer.Option(help="shards.txt of the data set")],
    frames: Annotated[Path, typer.Option(help="folder of the frame shards")],
    max_failed: Annotated[float, typer.Option(help="largest share of clips without frames, 0 to 1")],
    output: Annotated[Path, typer.Option(help="frames.json to write")],
) -> None:
    """List the frame shards of a data set; fail if too many clips have no frames."""
    from kinetext.data import checks as module

    module.check_frames(shards, frames, max_failed, output)


@app.command()
def split_clips(
    name: Name,
    clips: ClipsFile,
    frames: FramesFile,
    protocol: Annotated[str, typer.Option(help="protocol, for instance few_shot_4")],
    options: Json,
    output: Annotated[Path, typer.Option(help="splits.parquet to write")],
    source: Annotated[Path | None, typer.Option(help="clips.parquet of the data set to train on")] = None,
    source_frames: Annotated[Path | None, typer.Option(help="frames.json of the data set to train on")] = None,
) -> None:
    """Write which clips train, validate and test under a protocol; no clip may do two of these."""
    from kinetext.config.data import ProtocolOptions
    from kinetext.data import splits as module
    from kinetext.data.checks import list_shards

    protocol_options = parse_options(ProtocolOptions, options)
    source_shards = list_shards(source_frames) if source_frames else []
    module.split_clips(name, clips, list_shards(frames), protocol, protocol_options, output, source, source_shards)


@app.command()
def prepare_backbone(
    options: Json, output: Annotated[Path, typer.Option(help="folder to write the weights and their description to")]
) -> None:
    """Download, convert or pretrain an image-text model."""
    from kinetext.backbones import embed as module
    from kinetext.config.backbone import BackboneOptions

    module.prepare_backbone(parse_options(BackboneOptions, options), output)


@app.command()
def embed_frames(
    backbone: BackboneFolder,
    frames: Annotated[Path, typer.Option(help="frame shard, .arrow")],
    output: Annotated[Path, typer.Option(help="feature shard to write, .arrow")],
    threads: Threads = 1,
) -> None:
    """Compute one image feature per frame of a shard."""
    from kinetext.core.launch import reserve_gpus

    reserve_gpus(1)
    from kinetext.backbones import embed as module

    module.embed_frames(backbone, frames, output, threads)


@app.command()
def embed_labels(
    backbone: BackboneFolder,
    clips: ClipsFile,
    output: Annotated[Path, typer.Option(help="table of text features to write, .parquet")],
) -> None:
    """Compute one text feature per class name."""
    from kinetext.backbones import embed as module

    module.embed_labels(backbone, clips, output)


@app.command()
def mine_confusables(
    clips: ClipsFile,
    splits: SplitsFile,
    names: Annotated[Path, typer.Option(help="text features of the class names, from embed-labels")],
    options: Json,
    output: Annotated[Path, typer.Option(help="confusables.parquet to write")],
    frames: FramesFile,
    features: Annotated[Path | None, typer.Option(help="folder of feature shards; none if clips have captions")] = None,
) -> None:
    """Find the classes that a baseline confuses, on training clips only."""
    from kinetext.config.texts import ConfusablesOptions
    from kinetext.data.checks import list_shards
    from kinetext.texts import mining as module

    shards = list_shards(frames, features) if features else []
    module.mine_confusables(clips, splits, shards, names, parse_options(ConfusablesOptions, options), output)


@app.command()
def describe_classes(
    name: Name,
    clips: ClipsFile,
    splits: SplitsFile,
    confusables: ConfusablesFile,
    options: Json,
    rule: Annotated[str, typer.Option(help="mining rule whose rivals are used: features, text, declared or file")],
    backbone: BackboneFolder,
    cache: CacheFolder,
    output: Annotated[Path, typer.Option(help="texts/{texts}.parquet to write")],
) -> None:
    """Write the prompts and descriptions of each class, checked, with their source."""
    from kinetext.backbones.architecture import token_limit
    from kinetext.config.texts import TextOptions
    from kinetext.core.detached import run_detached
    from kinetext.texts import describe as module
    from kinetext.texts.checks import TokenLimit

    text_options = parse_options(TextOptions, options)
    if module.is_paid(text_options, name):
        run_detached()
    limit = TokenLimit(*token_limit(backbone))
    module.describe_classes(clips, splits, confusables, text_options, name, rule, cache, output, limit)


@app.command()
def plan_run(
    spec: Annotated[str, typer.Option(help="the run as JSON")],
    output: Annotated[Path, typer.Option(help="run.yaml to write")],
) -> None:
    """Write the complete specification of one run."""
    from kinetext import plan as module

    module.plan_run(spec, output)


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

    `tracking` sends the curves to MLflow during the training. Snakemake sets the environment variable, because a changed option
    would make it train every run again.
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
) -> None:
    """Score every test clip for every class or caption, with its frames in order and under the motion probes."""
    from kinetext.core.launch import launch

    if launch(gpus, nodes):
        return
    from kinetext.core import distributed
    from kinetext.data.checks import list_shards
    from kinetext.evaluation import predict as module

    with distributed.process_group():
        module.predict_clips(run, splits, list_shards(frames), texts, backbone, checkpoint, output, threads)


@app.command()
def measure_run(
    run: Annotated[Path, typer.Option(help="run folder")],
    predictions: Annotated[Path, typer.Option(help="predictions.parquet of the run")],
    confusables: ConfusablesFile,
    output: Annotated[Path, typer.Option(help="metrics.parquet to write")],
    metrics: Annotated[str, typer.Option(help="`metrics` of config.yaml, as JSON: beside the built-in ones")] = "{}",
) -> None:
    """Compute the metrics of a run with their intervals."""
    from kinetext.config.report import MetricOptions
    from kinetext.evaluation import measure as module

    added = {name: parse_options(MetricOptions, json.dumps(one)) for name, one in json.loads(metrics).items()}
    module.measure_run(run, predictions, confusables, output, added)


@app.command()
def log_run(
    runs: RunFolders,
    results: ResultsFolder,
    options: Json,
    output: Annotated[Path, typer.Option(help="mlflow.json to write: what was logged")],
) -> None:
    """Log run folders to MLflow, each once, and the means over their seeds."""
    from kinetext.config.report import TrackingOptions
    from kinetext.tracking import log as module

    module.log_run(runs, results, parse_options(TrackingOptions, options), output)


@app.command()
def collect_metrics(
    runs: RunFolders,
    results: ResultsFolder,
    output: Annotated[Path, typer.Option(help="folder to write the tables to")],
) -> None:
    """Collect all runs of all experiments in a few tables."""
    from kinetext.report import collect as module

    module.collect_metrics(runs, results, output)


@app.command()
def render_report(
    tables: Annotated[Path, typer.Option(help="folder of the collected tables")],
    options: Json,
    sources: Annotated[
        str,
        typer.Option(
            help='files as JSON: {"datasets": [[name, clips.parquet, frames.json]], "texts": [...], '
            '"mined": [[data set, protocol, backbone, confusables.parquet]]}'
        ),
    ],
    output: Annotated[Path, typer.Option(help="report.html to write")],
    figures: Annotated[Path, typer.Option(help="folder to write the figures to")],
) -> None:
    """Render the report: one comparison table with confidence intervals and paired tests."""
    from kinetext.config.report import ReportOptions
    from kinetext.data.checks import list_shards
    from kinetext.report import render as module

    parsed = json.loads(sources)
    datasets = [(name, Path(clips), list_shards(Path(frames))) for name, clips, frames in parsed["datasets"]]
    mined = [(*key, Path(path)) for *key, path in parsed["mined"]]
    texts = [Path(path) for path in parsed["texts"]]
    module.render_report(tables, parse_options(ReportOptions, options), datasets, mined, texts, output, figures)
