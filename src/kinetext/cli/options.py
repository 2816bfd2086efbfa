"""Types of command-line options that several commands share, and the parser of options that are given as JSON."""

from pathlib import Path
from typing import Annotated, TypeVar

import typer
import yaml

from kinetext.core.plugins import Options, sentence

Model = TypeVar("Model", bound=Options)

ConfigFile = Annotated[Path, typer.Option(help="configuration of the study, such as mine.yaml")]
ClipsFile = Annotated[Path, typer.Option(help="data/{dataset}/clips.parquet in the results folder")]
SplitsFile = Annotated[Path, typer.Option(help="data/{dataset}/{protocol}/splits.parquet")]
FramesFile = Annotated[Path, typer.Option(help="data/{dataset}/frames/{frame set}/frames.json")]
TextsFile = Annotated[Path, typer.Option(help="data/{dataset}/{protocol}/{backbone}/texts/{texts}.parquet")]
ConfusablesFile = Annotated[Path, typer.Option(help="data/{dataset}/{protocol}/{backbone}/confusables.parquet")]
BackboneFolder = Annotated[Path, typer.Option(help="backbones/{backbone}, the folder of the weights")]
RunFile = Annotated[Path, typer.Option(help="runs/{dataset}/{protocol}/{backbone}/{method}/{texts}/seed{n}/run.yaml")]
CacheFolder = Annotated[Path, typer.Option(help="folder of cached files, which any later run may reuse")]
ResultsFolder = Annotated[Path, typer.Option(help="results folder: `results` of the configuration")]
RunFolders = Annotated[
    list[Path], typer.Argument(help="run folders, runs/{dataset}/{protocol}/{backbone}/{method}/{texts}/seed{n}")
]
Name = Annotated[str, typer.Option(help="name in config.yaml")]
Json = Annotated[str, typer.Option(help="options as JSON, with the keys of config.yaml")]
Tracking = Annotated[str, typer.Option(envvar="KINETEXT_TRACKING", help="`tracking` of config.yaml as JSON")]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads or worker processes")]
Gpus = Annotated[int, typer.Option(min=0, help="GPUs per node, one process each; without a GPU, processes on the CPU")]
Nodes = Annotated[int, typer.Option(min=1, help="nodes of the SLURM job")]


def parse_options(model: type[Model], text: str) -> Model:
    """Return the options in a JSON or YAML text.

    Raises ValueError with the wrong key, its value and what is allowed.
    """
    from pydantic import ValidationError

    try:
        return model(**(yaml.safe_load(text) or {}))
    except ValidationError as error:
        raise ValueError(f"--options: {sentence(error, model)}") from None
