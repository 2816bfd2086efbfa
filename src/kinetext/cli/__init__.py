"""One command per rule of the workflow, with the rule's name. Each parses, calls one function, and says a mistake of the
user's (ValueError) in one sentence. Heavy packages are imported by the command that needs them.
"""

import gc
import json
import logging
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from kinetext.core.files import refusal
from kinetext.core.plugins import Options, nearest, sentence

if TYPE_CHECKING:
    from kinetext.texts.checks import TokenLimit

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)

Out = Annotated[Path, typer.Option(help="the file that is written")]
Json = Annotated[str, typer.Option(help="options as JSON, as in config.yaml")]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads or processes")]
Gpus = Annotated[
    int, typer.Option(min=0, help="GPUs on each node, one process a GPU; without any, processes on the CPU")
]
Nodes = Annotated[int, typer.Option(min=1, help="nodes of a SLURM job")]
In = Annotated[Path, typer.Option(help="a file or folder that is read")]
Frames = Annotated[Path, typer.Option(help="frames.json of the data set, which lists its shards")]
Files = Annotated[list[Path], typer.Argument(help="files or folders that are read")]
Text = Annotated[str, typer.Option()]
Tracking = Annotated[str, typer.Option(envvar="KINETEXT_TRACKING", help="`tracking` of config.yaml, as JSON")]


def main() -> None:
    """Entry point: one sentence for a user's mistake, a traceback for ours."""
    gc.set_threshold(100_000)  # importing torch makes millions of objects: collecting among them costs a second
    spare_pandas()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("open_clip").setLevel(logging.ERROR)
    logging.getLogger("root").addFilter(
        lambda record: record.levelno >= logging.WARNING or "kinetext" in record.pathname
    )
    try:
        app()
    except ValueError as error:
        _tell(f"kinetext: {error}")
        sys.exit(1)
    except OSError as error:
        if refusal(error) is None:
            raise
        _tell(f"kinetext: {error.filename or 'a file'}: {error.strerror}")
        sys.exit(1)


def _tell(sentence: str) -> None:
    try:
        print(sentence, file=sys.stderr, flush=True)
    except OSError:  # the rule's log is on the full disk, too; what goes here is shown by Snakemake
        print(sentence, flush=True)


def spare_pandas() -> None:
    """Have pyarrow take pandas as not installed in this process: it imports pandas, a second of every job, to ask of each
    list whether pandas made it.
    """
    import pyarrow

    sys.meta_path.insert(0, _NoPandas)  # type: ignore[arg-type]
    pyarrow.array([])  # pyarrow tries once
    sys.meta_path.remove(_NoPandas)  # type: ignore[arg-type]


class _NoPandas:
    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> None:
        if name == "pandas":
            raise ImportError("not needed here")


@app.command()
def check_config(config: Annotated[Path, typer.Argument(help="a config.yaml")] = Path("config.yaml")) -> None:
    """Check a config.yaml and say how many runs it plans."""
    from kinetext.plan import load_config, plan_runs

    print(f"{config}: {len(plan_runs(load_config(config)))} runs")


@app.command()
def export_schema(output: Out = Path("workflow/config.schema.json")) -> None:
    """Write the JSON schema of config.yaml, for editors."""
    from kinetext.config.experiment import Config

    output.write_text(json.dumps(Config.model_json_schema(), indent=1) + "\n")


@app.command()
def doctor(
    results: Annotated[Path | None, typer.Argument(help="a results folder; default: that of the configuration")] = None,
    config: In = Path("config.yaml"),
) -> None:
    """Check the installation and a results folder: a line for what is wrong and what to do; changes nothing."""
    from kinetext.doctor.examine import examine

    if examine(results, config):
        sys.exit(1)


@app.command()
def inspect(
    dataset: Annotated[str, typer.Argument(help="a data set of the configuration")],
    config: In = Path("config.yaml"),
    clips: Annotated[int, typer.Option(min=1, help="clips whose durations are looked at")] = 200,
    output: Annotated[Path | None, typer.Option(help="a folder; default: inspect/DATASET in the results")] = None,
) -> None:
    """Print what a data set has, odd and equal files too, and draw a sheet of its clips."""
    from kinetext.data.inspect import inspect as run
    from kinetext.plan import load_config

    settings = load_config(config)
    if dataset not in settings.datasets:
        raise ValueError(f"{config}: there is no data set '{dataset}'{nearest(dataset, list(settings.datasets))}")
    results = Path(settings.results)
    media = results / "data" / dataset / "media"
    run(dataset, settings.datasets[dataset], media, output or results / "inspect" / dataset, clips)


@app.command()
def index_clips(name: Text, options: Json, output: Out, shards: Out, media: In, cache: In) -> None:
    """List the clips of a data set."""
    from kinetext.config.data import DatasetOptions
    from kinetext.data.index import index_clips as run

    run(name, _parse(DatasetOptions, options), output, shards, media, cache)


@app.command()
def extract_frames(
    clips: In, shard: Text, options: Json, output: Out, threads: Threads = 1, cache: Path | None = None
) -> None:
    """Decode the frames of one shard of clips."""
    from kinetext.config.data import FrameOptions
    from kinetext.data.frames import extract_frames as run

    run(clips, shard, _parse(FrameOptions, options), output, threads, cache)


@app.command()
def check_frames(shards: In, frames: In, max_failed: Annotated[float, typer.Option()], output: Out) -> None:
    """Stop here when too many clips have no frames."""
    from kinetext.data.checks import check_frames as run

    run(shards, frames, max_failed, output)


@app.command()
def split_clips(
    name: Text,
    clips: In,
    frames: Frames,
    protocol: Text,
    options: Json,
    output: Out,
    source: Path | None = None,
    source_frames: Annotated[Path | None, typer.Option(help="frames.json of the source's data set")] = None,
) -> None:
    """Which clips train and test under a protocol; none may do both."""
    from kinetext.config.data import ProtocolOptions
    from kinetext.data.checks import list_shards
    from kinetext.data.splits import split_clips as run

    of_source = list_shards(source_frames) if source_frames else []
    run(name, clips, list_shards(frames), protocol, _parse(ProtocolOptions, options), output, source, of_source)


@app.command()
def prepare_backbone(options: Json, output: Out) -> None:
    """Fetch, convert or pretrain an image-text model."""
    from kinetext.backbones.embed import prepare_backbone as run
    from kinetext.config.backbone import BackboneOptions

    run(_parse(BackboneOptions, options), output)


@app.command()
def probe_backbone(
    backbone: Annotated[Path, typer.Argument()], stills: Annotated[int, typer.Option(help="per attribute")] = 1000
) -> None:
    """Print what the small CLIP knows of single stills, attribute by attribute."""
    from kinetext.backbones.tiny.probe import probe_backbone as run

    run(backbone, stills)


@app.command()
def import_weights(
    checkpoint: Annotated[Path, typer.Argument(help="weights of STAN's released code")], output: Out
) -> None:
    """Put a checkpoint of STAN's released code under the names that the method `stan` has here."""
    from kinetext.methods.stan.import_weights import import_weights as run

    run(checkpoint, output)


@app.command()
def embed_frames(backbone: In, frames: In, output: Out, threads: Threads = 1) -> None:
    """One CLIP feature per frame of a shard."""
    from kinetext.core.launch import take_gpus

    take_gpus(1)
    from kinetext.backbones.embed import embed_frames as run

    run(backbone, frames, output, threads)


@app.command()
def embed_labels(backbone: In, clips: In, output: Out) -> None:
    """One CLIP feature per class name."""
    from kinetext.backbones.embed import embed_labels as run

    run(backbone, clips, output)


@app.command()
def mine_confusables(
    clips: In,
    splits: In,
    names: In,
    options: Json,
    output: Out,
    frames: Frames,
    features: Annotated[Path | None, typer.Option(help="folder of shards; none where clips have captions")] = None,
) -> None:
    """Which classes are taken for each other; training clips only."""
    from kinetext.config.texts import ConfusablesOptions
    from kinetext.data.checks import list_shards
    from kinetext.texts.mining import mine_confusables as run

    shards = list_shards(frames, features) if features else []
    run(clips, splits, shards, names, _parse(ConfusablesOptions, options), output)


@app.command()
def describe_classes(
    name: Text,
    clips: In,
    splits: In,
    confusables: In,
    options: Json,
    rule: Text,
    backbone: In,
    cache: In,
    output: Out,
) -> None:
    """What each class is called and how it moves, unlike its rivals."""
    from kinetext.config.texts import TextOptions
    from kinetext.core.detached import step_aside
    from kinetext.texts.describe import are_paid
    from kinetext.texts.describe import describe_classes as run

    said = _parse(TextOptions, options)
    if are_paid(said, name):
        step_aside()
    run(clips, splits, confusables, said, name, rule, cache, output, _token_limit(backbone))


@app.command()
def export_texts(texts: In, output: Annotated[Path, typer.Option(help="a new .csv or .json file")]) -> None:
    """Write a table of texts as a file to edit; texts of the module `file` read it."""
    from kinetext.texts.providers.file import export_texts as run

    run(texts, output)


@app.command()
def plan_run(spec: Json, output: Out) -> None:
    """Write down one run completely."""
    from kinetext.plan import plan_run as run

    run(spec, output)


@app.command()
def train_method(
    run: In,
    splits: In,
    frames: Frames,
    texts: In,
    confusables: In,
    backbone: In,
    cache: In,
    output: Out,
    threads: Threads = 1,
    gpus: Gpus = 1,
    nodes: Nodes = 1,
    tracking: Tracking = "",
) -> None:
    """Train a method; killed and started again it goes on where it was. TRACKING is for curves while it trains; Snakemake
    sets the variable, as an option would have every run trained again when it changes.
    """
    from kinetext.core.launch import launch

    if launch(gpus, nodes):
        return
    from kinetext.config.report import TrackingOptions
    from kinetext.config.run import read_run
    from kinetext.core import distributed
    from kinetext.data.checks import list_shards
    from kinetext.tracking.live import followed
    from kinetext.training.setup import Inputs
    from kinetext.training.system import sampled
    from kinetext.training.train import train_method as train

    inputs = Inputs(splits, list_shards(frames), texts, confusables, backbone)
    options = _parse(TrackingOptions, tracking or '{"enabled": false}')
    with distributed.joined():
        if distributed.rank() > 0:  # the first one tells for all
            train(run, inputs, cache, output, threads)
            return
        with sampled(output.parent, read_run(run).fingerprint), followed(run, splits, cache.parent, options) as points:
            train(run, inputs, cache, output, threads, points.write if points else None)


@app.command()
def follow_run(
    run: In, splits: In, results: In, folder: In, pid: Annotated[int, typer.Option()], tracking: Tracking = "{}"
) -> None:
    """Send the curves of the training PID to MLflow while it runs; `train-method` starts this."""
    from kinetext.config.report import TrackingOptions
    from kinetext.tracking.live import follow_run as follow

    follow(run, splits, results, _parse(TrackingOptions, tracking), folder, pid)


@app.command()
def profile(
    run: Annotated[Path, typer.Argument(help="a run folder in its results folder")],
    steps: Annotated[int, typer.Option(min=1, help="steps that are measured")] = 20,
    threads: Threads = 1,
    clips: Annotated[
        int | None, typer.Option(min=1, help="clips of the data set to reckon for; else the run's")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="passes over them; else the run's")] = None,
    price: Annotated[float, typer.Option(min=0, help="of an hour of this machine, in any currency")] = 0.0,
) -> None:
    """Where the time of a training step goes, what share of the device it uses, what a whole training takes and costs."""
    from kinetext.training.profile import profile_run

    profile_run(run, steps, threads, clips, epochs, price)


@app.command()
def predict_clips(
    run: In,
    splits: In,
    frames: Frames,
    texts: In,
    backbone: In,
    output: Out,
    checkpoint: Path | None = None,
    threads: Threads = 1,
    gpus: Gpus = 1,
    nodes: Nodes = 1,
) -> None:
    """Score every test clip, with its frames in order and in three wrong orders."""
    from kinetext.core.launch import launch

    if launch(gpus, nodes):
        return
    from kinetext.core.distributed import joined
    from kinetext.data.checks import list_shards
    from kinetext.evaluation.predict import predict_clips as predict

    with joined():
        predict(run, splits, list_shards(frames), texts, backbone, checkpoint, output, threads)


@app.command()
def classify(
    videos: Annotated[list[Path], typer.Argument(help="video files")],
    run: Annotated[Path, typer.Option(help="a run folder in its results folder")],
    top: Annotated[int, typer.Option(min=1, help="answers a video")] = 5,
) -> None:
    """What a run says of video files."""
    from kinetext.evaluation.classify import classify as run_classify

    if run_classify(videos, run, top):
        sys.exit(1)


@app.command()
def measure_run(run: In, predictions: In, confusables: In, output: Out) -> None:
    """Each metric of a run with its interval."""
    from kinetext.evaluation.measure import measure_run as measure

    measure(run, predictions, confusables, output)


@app.command()
def log_run(runs: Files, results: In, options: Json, output: Out) -> None:
    """Log run folders to MLflow, each once, and the mean of their seeds."""
    from kinetext.config.report import TrackingOptions
    from kinetext.tracking.log import log_runs as run

    run(runs, results, _parse(TrackingOptions, options), output)


@app.command()
def sync_tracking(results: Annotated[Path, typer.Argument(help="a results folder")], tracking: Tracking = "{}") -> None:
    """Make MLflow say again what the run folders say; a lost database costs nothing."""
    from kinetext.config.report import TrackingOptions
    from kinetext.tracking.log import sync_tracking as run

    run(results, _parse(TrackingOptions, tracking))


@app.command()
def collect_metrics(runs: Files, results: In, output: Out) -> None:
    """Every run of every experiment in a few tables."""
    from kinetext.report.collect import collect_metrics as run

    run(runs, results, output)


@app.command()
def render_report(tables: In, options: Json, sources: Json, output: Out, figures: In) -> None:
    """The page that lets a reader decide. SOURCES: {"datasets": [[name, clips, frames.json]], "texts": [...],
    "mined": [[data set, protocol, backbone, confusables]]}.
    """
    from kinetext.config.report import ReportOptions
    from kinetext.data.checks import list_shards
    from kinetext.report.render import render_report as run

    found = json.loads(sources)
    datasets = [(name, Path(clips), list_shards(Path(frames))) for name, clips, frames in found["datasets"]]
    mined = [(*place, Path(path)) for *place, path in found["mined"]]
    texts = [Path(path) for path in found["texts"]]
    run(tables, _parse(ReportOptions, options), datasets, mined, texts, output, figures)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="a run folder, or the folder of its seeds")],
    second: Annotated[Path, typer.Argument(help="another one of the same data set and protocol")],
) -> None:
    """Two runs on the same clips: the difference, its interval and p, and the classes that change most."""
    from kinetext.report.compare import compare as run

    print(run(first, second))


def _token_limit(backbone: Path) -> "TokenLimit":
    """What fits into the text tower of a prepared backbone; open_clip is imported when the first text is counted."""
    from kinetext.backbones.catalogue import context_length
    from kinetext.texts.checks import TokenLimit

    model = yaml.safe_load((backbone / "backbone.yaml").read_text())["model"]

    @cache
    def counter() -> Callable[[str], int]:
        from kinetext.backbones.open_clip_vit import token_counter

        return token_counter(model)

    return TokenLimit(context_length(model), lambda text: counter()(text))


def _parse(model: type[Options], text: str) -> Any:
    from pydantic import ValidationError

    try:
        return model(**(yaml.safe_load(text) or {}))
    except ValidationError as error:
        raise ValueError(f"--options: {sentence(error, model)}") from None
