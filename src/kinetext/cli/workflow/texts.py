"""Commands that prepare the image-text model, its features, the confusable classes and the texts."""

from pathlib import Path
from typing import Annotated

import typer

from kinetext.cli.options import (
    BackboneFolder,
    CacheFolder,
    ClipsFile,
    ConfusablesFile,
    FramesFile,
    Json,
    Name,
    SplitsFile,
    Threads,
    parse_options,
)

app = typer.Typer()


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
    output: Annotated[Path, typer.Option(help="text features of the class names to write, .npz")],
) -> None:
    """Compute one text feature per class name of a data set."""
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
    """Find the classes that an image-text model confuses, without using test clips."""
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
    frames: Annotated[Path | None, typer.Option(help="frames.json, for texts about training clips")] = None,
) -> None:
    """Write the prompts and descriptions of each class, with their sources and the result of the checks."""
    from kinetext.backbones.architecture import token_limit
    from kinetext.config.texts import TextOptions
    from kinetext.core.detached import run_detached
    from kinetext.texts import describe as module
    from kinetext.texts.checks import TokenLimit

    text_options = parse_options(TextOptions, options)
    if module.is_paid(text_options, name):
        run_detached()
    limit = TokenLimit(*token_limit(backbone))
    module.describe_classes(clips, splits, confusables, text_options, name, rule, cache, output, limit, frames)
