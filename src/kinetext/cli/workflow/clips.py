"""Commands that list the clips of a data set, extract their frames, and split the clips by protocol."""

from pathlib import Path
from typing import Annotated

import typer

from kinetext.cli.options import CacheFolder, ClipsFile, FramesFile, Json, Name, Threads, parse_options

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
    """Write which clips are used for training, validation and testing under a protocol."""
    from kinetext.config.data import ProtocolOptions
    from kinetext.data import splits as module
    from kinetext.data.checks import list_shards

    protocol_options = parse_options(ProtocolOptions, options)
    source_shards = list_shards(source_frames) if source_frames else []
    module.split_clips(name, clips, list_shards(frames), protocol, protocol_options, output, source, source_shards)
