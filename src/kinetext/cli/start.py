"""Commands to begin with: write a configuration, open the runs in MLflow, retry failed clips."""

import os
from pathlib import Path
from typing import Annotated

import typer

from kinetext.cli.options import ConfigFile
from kinetext.cli.user import run_workflow
from kinetext.core.escape import for_terminal
from kinetext.data.lists import printable

app = typer.Typer()


@app.command()
def init(
    source: Annotated[Path, typer.Argument(help="folder of class folders, or a csv list of clips")],
    output: Annotated[Path, typer.Option("--output", "-o", help="configuration to write")] = Path("mine.yaml"),
    root: Annotated[Path | None, typer.Option(help="folder of the videos of a list; default: the list's")] = None,
    backbone: Annotated[
        str | None, typer.Option(help="open_clip's name of a model, or tiny; default: by the device")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="local file with the weights of --backbone")] = None,
    texts: Annotated[Path | None, typer.Option(help="your own descriptions, .csv or .json (docs/texts.md)")] = None,
    server: Annotated[
        str | None, typer.Option(help="language model server, e.g. http://localhost:11434/v1; default: OpenAI")
    ] = None,
    model: Annotated[str | None, typer.Option(help="language model that writes the descriptions")] = None,
    describe: Annotated[bool, typer.Option(help="whether the study compares descriptions with names")] = True,
) -> None:
    """Inspect your videos and write a commented configuration for them; print what was chosen and why."""
    from kinetext.start import init as module

    module.init(source, output, root, backbone, weights, texts, server, model, describe)


@app.command()
def dashboard(
    config: ConfigFile = Path("config.yaml"),
    port: Annotated[int, typer.Option(min=1, max=65535, help="port on this machine")] = 5000,
) -> None:
    """Serve the runs of a study in MLflow, on this machine only, and print the addresses of the runs."""
    from kinetext.plan import load_config
    from kinetext.tracking import dashboard as module

    settings = load_config(config)
    module.dashboard(settings.tracking, Path(settings.results), port)


@app.command(context_settings={"ignore_unknown_options": True})
def retry_failed(
    config: Annotated[Path, typer.Argument(help="config.yaml")] = Path("config.yaml"),
    options: Annotated[
        list[str] | None, typer.Argument(help="options of Snakemake, for instance -n or --cores 4")
    ] = None,
) -> None:
    """Retry the clips that have no frames; if some can be read now, run what depends on them."""
    from kinetext.data.retry import failed_clips, readable_now
    from kinetext.plan import frame_sets, load_config, plan_runs

    settings, workers = load_config(config), len(os.sched_getaffinity(0))
    runs, shards = plan_runs(settings), list[str]()
    sets = [(name, *item) for name in settings.datasets for item in frame_sets(runs.values(), name).items()]
    for name, frame_set, options_of_set in sets:
        data = Path(settings.results) / "data" / name
        folder = data / "frames" / frame_set
        failed = failed_clips(folder)
        reasons = {clip: reason for clips in failed.values() for clip, reason in clips.items()}
        readable = readable_now(data / "clips.parquet", set(reasons), options_of_set, workers) if failed else set()
        for clip, reason in reasons.items():
            line = printable(f"{name}: {clip}: {'can be read now' if clip in readable else reason}")
            print(for_terminal(line), flush=True)
        shards += [f"{folder}/{shard}.arrow" for shard, clips in failed.items() if readable & set(clips)]
    if not shards:
        print(f"{config}: no failed clip can be read now; nothing is run")
        return
    run_workflow(config, ["--forcerun", *shards, *(options or ["--cores", str(workers)])])
