"""Commands for users about trained models: classify, export, import."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from kinetext.cli.options import Threads

app = typer.Typer()


@app.command()
def classify(
    videos: Annotated[list[Path], typer.Argument(help="video files, folders of them, lists (.txt, or .csv with path)")],
    run: Annotated[
        Path | None,
        typer.Option(help="run folder: results/runs/DATASET/PROTOCOL/BACKBONE/METHOD/TEXTS/seed0"),
    ] = None,
    model: Annotated[Path | None, typer.Option(help="exported model instead of --run: its folder or file")] = None,
    top: Annotated[int, typer.Option(min=1, help="labels per video")] = 5,
    csv: Annotated[
        Path | None, typer.Option(help="CSV file to write: a row per video and label, errors as rows")
    ] = None,
    threads: Threads = 1,
) -> None:
    """Classify videos with a trained run; fail if no video could be read or, without --csv, if any could not."""
    from kinetext.evaluation import classify as module

    num_videos, num_unreadable = module.classify(videos, run, top, csv, threads, model)
    if csv is not None:
        print(f"{csv}: {num_videos} videos, {num_unreadable} of them unreadable")
    if num_unreadable == num_videos or (num_unreadable and csv is None):
        sys.exit(1)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="run folder: results/runs/DATASET/PROTOCOL/BACKBONE/METHOD/TEXTS/seed0")],
    output: Annotated[Path, typer.Option(help="new folder to write")],
    form: Annotated[
        Literal["onnx", "open_clip"],
        typer.Option("--format", help="onnx: the video classifier; open_clip: the weights of mean_pool or zero_shot"),
    ] = "onnx",
) -> None:
    """Write the trained model of a run for other programs, and for `classify --model`."""
    from kinetext.evaluation import export_model as module

    print(module.export_model(run, form, output))


@app.command()
def import_weights(
    checkpoint: Annotated[Path, typer.Argument(help="file of weights of STAN's released code, .pth")],
    output: Annotated[Path, typer.Option(help="safetensors file to write")],
) -> None:
    """Convert a checkpoint of STAN's published code to the parameter names of the method `stan`."""
    from kinetext.methods.stan import import_weights as module

    module.import_weights(checkpoint, output)
