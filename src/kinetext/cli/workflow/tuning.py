"""Commands for tuning: train one trial, and choose among all trials of a method."""

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
    SplitsFile,
    TextsFile,
    Threads,
)

app = typer.Typer()


@app.command()
def tune_method(
    trial: Annotated[str, typer.Option(help="the trial at its rung, as JSON")],
    splits: SplitsFile,
    frames: FramesFile,
    texts: TextsFile,
    confusables: ConfusablesFile,
    backbone: BackboneFolder,
    cache: CacheFolder,
    output: Annotated[Path, typer.Option(help="score of the trial to write, .json")],
    before: Annotated[list[Path] | None, typer.Option(help="score of a trial at the rung before; all of them")] = None,
    promoted: Annotated[int, typer.Option(help="trials that this rung trains")] = 0,
    threads: Threads = 1,
    gpus: Gpus = 1,
    nodes: Nodes = 1,
) -> None:
    """Train one trial of a tuning and judge it on the validation clips; a trial that is not promoted ends at once."""
    from kinetext.config.run import RunSpec
    from kinetext.training import choose

    spec = RunSpec(**json.loads(trial))
    if not choose.is_promoted(spec, before or [], promoted):
        choose.write_score(spec, output, choose.NOT_PROMOTED)
        return
    from kinetext.core.launch import launch

    if launch(gpus, nodes):
        return
    from kinetext.core import distributed
    from kinetext.data.checks import list_shards
    from kinetext.training import tune as module
    from kinetext.training.setup import Inputs

    inputs = Inputs(splits, list_shards(frames), texts, confusables, backbone)
    with distributed.process_group():
        module.tune_method(spec, inputs, cache, output, threads)


@app.command()
def choose_settings(
    spec: Annotated[str, typer.Option(help="a tuned run as JSON")],
    scores: Annotated[list[Path], typer.Argument(help="scores of all trials at all rungs")],
    output: Annotated[Path, typer.Option(help="setting.yaml to write")],
    table: Annotated[Path, typer.Option(help="trials.parquet to write")],
) -> None:
    """Choose the setting of the trial with the highest score."""
    from kinetext.training import choose as module

    module.choose_settings(spec, scores, output, table)
