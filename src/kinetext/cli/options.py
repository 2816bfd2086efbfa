"""Types of command-line options that several commands share, and the parser of options that are given as JSON."""

from pathlib import Path
from typing import Annotated, TypeVar

import typer
import yaml

from kinetext.core.plugins import Options, sentence

Model = TypeVar("Model", bound=Options)

ConfigFile = Annotated[Path, typer.Option(help="config.yaml")]
ClipsFile = Annotated[Path, typer.Option(help="clips.parquet of the data set")]
SplitsFile = Annotated[Path, typer.Option(help="splits.parquet of the data set and protocol")]
FramesFile = Annotated[Path, typer.Option(help="frames.json of the data set, which lists its frame shards")]
TextsFile = Annotated[Path, typer.Option(help="texts/{texts}.parquet: prompts and descriptions")]
ConfusablesFile = Annotated[Path, typer.Option(help="confusables.parquet of the data set, protocol and backbone")]
BackboneFolder = Annotated[Path, typer.Option(help="backbones/{backbone}, the folder of the weights")]
RunFile = Annotated[Path, typer.Option(help="run.yaml of the run")]
CacheFolder = Annotated[Path, typer.Option(help="folder of cached files, which any later run may reuse")]
ResultsFolder = Annotated[Path, typer.Option(help="results folder")]
RunFolders = Annotated[list[Path], typer.Argument(help="run folders")]
Name = Annotated[str, typer.Option(help="name in config.yaml")]
Json = Annotated[str, typer.Option(help="options as JSON, with the keys of config.yaml")]
Tracking = Annotated[str, typer.Option(envvar="KINETEXT_TRACKING", help="`tracking` of config.yaml as JSON")]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads or worker processes")]
Gpus = Annotated[int, typer.Option(min=0, help="GPUs per node, one process each; without a GPU, processes on the CPU")]
Nodes = Annotated[int, typer.Option(min=1, help="nodes of the SLURM job")]


def parse_options(model: type[Model], text: str) -> Model:
    """Return the options that a JSON or YAML text holds. Raises ValueError with the wrong key, its value and the right one."""
    from pydantic import ValidationError

    try:
        return model(**(yaml.safe_load(text) or {}))
    except ValidationError as error:
        raise ValueError(f"--options: {sentence(error, model)}") from None
