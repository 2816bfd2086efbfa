"""Commands that use all runs: logging to MLflow, the collected tables, and the report."""

import json
from pathlib import Path
from typing import Annotated

import typer

from kinetext.cli.options import Json, ResultsFolder, RunFolders, parse_options

app = typer.Typer()


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
    processes: Annotated[int, typer.Option(min=1, help="number of processes that read the runs")] = 1,
) -> None:
    """Collect the results of all runs in a few tables."""
    from kinetext.report import collect as module

    module.collect_metrics(runs, results, output, processes)


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
