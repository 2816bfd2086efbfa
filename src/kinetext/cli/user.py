"""Commands for users: run, check, inspect, compare, export tables and repair."""

import json
import os
import sys
import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
import yaml

from kinetext.cli.options import ConfigFile, Json, TextsFile, Threads, Tracking, parse_options
from kinetext.core.escape import for_terminal
from kinetext.core.plugins import KINDS, nearest

app = typer.Typer()


def run_workflow(config: Path, options: list[str]) -> None:
    """Replace this process by Snakemake with these options. Raises ValueError if the configuration does not exist."""
    from kinetext.core.paths import workflow_folder

    if not config.is_file():
        example = workflow_folder() / "config.yaml"
        raise ValueError(f"{config}: there is no such file; the demo's configuration is {example}")
    snakefile = workflow_folder() / "Snakefile"
    # the rules call `kinetext`, which is not on the PATH of an environment that is not activated
    os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # Snakemake runs as many jobs as there are cores
    # --configfile last: it takes several values, so a target after it would be read as one
    arguments = ["--snakefile", str(snakefile), *options, "--configfile", str(config)]
    os.execv(sys.executable, [sys.executable, "-m", "snakemake", *arguments])


@app.command(context_settings={"ignore_unknown_options": True})
def run(
    config: Annotated[
        Path,
        typer.Argument(help="configuration, such as mine.yaml; its results folder is relative to the current folder"),
    ],
    options: Annotated[
        list[str] | None, typer.Argument(help="options of Snakemake, for instance -n or --cores 4")
    ] = None,
) -> None:
    """Run the workflow: everything that CONFIG asks for and that is missing or out of date."""
    run_workflow(config, options or [])


@app.command()
def check_config(
    config: Annotated[Path, typer.Argument(help="configuration to check, such as mine.yaml")] = Path("config.yaml"),
    preflight: Annotated[
        bool, typer.Option("--preflight", help="also check keys, servers, weights, disk, clips, time and cost")
    ] = False,
) -> None:
    """Check a config.yaml; print how many runs it plans, and how many tuning trials precede them."""
    from kinetext.plan import load_config, plan_runs, tuned_runs

    settings = load_config(config)
    runs = plan_runs(settings)
    trials = sum(run.tuning.trials for run in tuned_runs(runs).values() if run.tuning)
    print(f"{config}: {len(runs)} runs" + (f", {trials} trials of tuning before them" if trials else ""), flush=True)
    if preflight:
        from kinetext.start import preflight as module

        stops = 0
        for check in module.preflight(settings, str(config)):
            print(check, flush=True)
            stops += check.level == "stop"
        if stops:
            sys.exit(1)


@app.command()
def export_schema(
    output: Annotated[Path, typer.Option(help="JSON schema to write")] = Path("workflow/config.schema.json"),
) -> None:
    """Write the JSON schema of config.yaml, which editors use for completion and checks."""
    from kinetext.config.experiment import Config

    output.write_text(json.dumps(Config.model_json_schema(), indent=1) + "\n")


@app.command()
def doctor(
    results: Annotated[Path | None, typer.Argument(help="results folder; default: that of the configuration")] = None,
    config: ConfigFile = Path("config.yaml"),
) -> None:
    """Check the installation and a results folder; print each problem with its remedy and change nothing."""
    from kinetext.doctor import doctor as module

    if module.doctor(results, config):
        sys.exit(1)


@app.command()
def inspect(
    dataset: Annotated[str, typer.Argument(help="data set of the configuration")],
    config: ConfigFile = Path("config.yaml"),
    clips: Annotated[int, typer.Option(min=1, help="clips whose durations are read")] = 200,
    output: Annotated[Path | None, typer.Option(help="folder; default: inspect/DATASET in the results folder")] = None,
) -> None:
    """Summarise a data set: classes, splits, unusual and duplicate files, and a contact sheet of its clips."""
    from kinetext.data import inspect as module
    from kinetext.plan import load_config, text_limit

    settings = load_config(config)
    if dataset not in settings.datasets:
        raise ValueError(f"{config}: there is no data set '{dataset}'{nearest(dataset, list(settings.datasets))}")
    results = Path(settings.results)
    media = results / "data" / dataset / "media"
    by_backbone = {
        name: text_limit(options, results / "backbones" / name) for name, options in settings.backbones.items()
    }
    limits = {name: limit for name, limit in by_backbone.items() if limit is not None}
    module.inspect(dataset, settings.datasets[dataset], media, output or results / "inspect" / dataset, clips, limits)


@app.command()
def fetch(
    name: Annotated[str | None, typer.Argument(help="data set; without it, list those that can be fetched")] = None,
    output: Annotated[Path | None, typer.Option(help="new folder; default: datasets/NAME")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="accept the stated licence without being asked")] = False,
) -> None:
    """Download a public data set after showing its licence; check, unpack and inspect it."""
    from kinetext.data.fetch import fetch as module
    from kinetext.data.fetch.sources import list_sources

    if name is None:
        print(list_sources())
    else:
        module.fetch(name, output or Path("datasets") / name, yes)


@app.command()
def report(
    config: Annotated[Path, typer.Argument(help="configuration of the study, such as mine.yaml")] = Path("config.yaml"),
    plan: Annotated[
        Path | None, typer.Option(help="unfinished/plan.json of the results folder, instead of CONFIG")
    ] = None,
    ended: Annotated[bool, typer.Option("--ended", help="no job is running any more")] = False,
    since: Annotated[float, typer.Option(help="ignore errors before this time, seconds since 1970")] = 0.0,
) -> None:
    """Render the report from the finished runs, list the other runs with the reason, and print a summary."""
    from kinetext.plan import load_config, method_trains, plan_runs
    from kinetext.report import partial
    from kinetext.report.jobs import Planned

    if plan is None:
        settings = load_config(config)
        results, options = Path(settings.results), settings.report
        planned = {name: Planned(spec, method_trains(spec)) for name, spec in plan_runs(settings).items()}
    else:
        results, (options, planned) = plan.parents[1], partial.read_plan(plan)
    partial.report(results, options, planned, ended, since)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="run folder (results/runs/.../seed0), or the folder of its seeds")],
    second: Annotated[Path, typer.Argument(help="another one of the same data set and protocol")],
) -> None:
    """Compare two runs on the same clips: difference, interval, p-value, and the classes that differ most."""
    from kinetext.report import compare as module

    print(for_terminal(module.compare(first, second)))


@app.command()
def export_predictions(
    run: Annotated[Path, typer.Argument(help="run folder: results/runs/DATASET/PROTOCOL/BACKBONE/METHOD/TEXTS/seed0")],
    output: Annotated[Path, typer.Option(help="CSV file to write: a row per test clip")],
) -> None:
    """Write the predictions of a run as CSV: for each test clip its class, the predicted class and a probability."""
    from kinetext.evaluation import export as module

    module.export_predictions(run, output)


@app.command()
def export_texts(
    texts: TextsFile,
    output: Annotated[Path, typer.Option(help="new .csv or .json file")],
) -> None:
    """Write a text set as a file that you can edit; the text provider `file` reads it."""
    from kinetext.texts.providers import file as module

    module.export_texts(texts, output)


@app.command()
def profile(
    run: Annotated[Path, typer.Argument(help="run folder: results/runs/DATASET/PROTOCOL/BACKBONE/METHOD/TEXTS/seed0")],
    steps: Annotated[int, typer.Option(min=1, help="steps to measure")] = 20,
    threads: Threads = 1,
    clips: Annotated[int | None, typer.Option(min=1, help="clips to extrapolate to; default: the run's")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="epochs to extrapolate to; default: the run's")] = None,
    price: Annotated[float, typer.Option(min=0, help="price of an hour of this machine, in any currency")] = 0.0,
) -> None:
    """Measure the parts of a training step and the use of the device; extrapolate to the time and cost of training."""
    from kinetext.training import profile as module

    module.profile(run, steps, threads, clips, epochs, price)


@app.command()
def sync_tracking(
    results: Annotated[Path, typer.Argument(help="results folder: `results` of the configuration")],
    tracking: Tracking = "{}",
) -> None:
    """Log all run folders to MLflow again, for instance after its database was lost."""
    from kinetext.config.report import TrackingOptions
    from kinetext.tracking import log as module

    module.sync_tracking(results, parse_options(TrackingOptions, tracking))


@app.command()
def probe_backbone(
    backbone: Annotated[Path, typer.Argument(help="folder of a prepared backbone: results/backbones/NAME")],
    stills: Annotated[int, typer.Option(help="images per attribute")] = 1000,
) -> None:
    """Print the zero-shot accuracy of kinetext-tiny on single images, for each attribute."""
    from kinetext.backbones.tiny import probe as module

    module.probe_backbone(backbone, stills)


@app.command()
def check_plugin(
    kind: Annotated[str, typer.Argument(help="datasets, texts, backbones, methods, terms or metrics")],
    module: Annotated[str, typer.Argument(help="name, dotted path or Python file, as in config.yaml")],
    options: Json = "{}",
    label: Annotated[
        list[str] | None, typer.Option(help="class for texts, at least two; default: rising, falling")
    ] = None,
) -> None:
    """Run the contract checks on a plug-in; print each check that passes and stop at the first one that fails."""
    from kinetext import contracts

    if kind not in KINDS:
        raise ValueError(f"there is no kind of plug-in '{kind}'{nearest(kind, list(KINDS))}")
    with TemporaryDirectory() as folder:
        labels = tuple(label or contracts.Case.labels)
        for promise in contracts.check_plugin(kind, module, Path(folder), yaml.safe_load(options) or {}, labels):
            print(f"ok: {promise}")
