"""The report on an unfinished study: `kinetext report`.

The workflow renders report.html when all runs are measured. Before that, and after an error, this module renders it
from the finished runs. Each unfinished run is a row with the reason. The tables and figures are in
{results}/unfinished, so that the outputs of the workflow's rules always belong to complete reports.
"""

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from kinetext.config.report import ReportOptions
from kinetext.config.run import RunSpec
from kinetext.report.collect import collect_metrics
from kinetext.report.jobs import Planned, shard_names
from kinetext.report.progress import Progress, read_progress
from kinetext.report.render import render_report
from kinetext.report.summary import summary_lines

FOLDER = "unfinished"  # in the results folder


def read_plan(path: Path) -> tuple[ReportOptions, dict[str, Planned]]:
    """Read the plan of a study; return the options of the report and the planned runs by name.

    Raises ValueError if the file does not exist.
    """
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file; the workflow writes it when it starts")
    plan = json.loads(path.read_text())
    runs = [Planned(RunSpec(**spec), trains) for spec, trains in plan["runs"]]
    return ReportOptions(**plan["report"]), {run.spec.run: run for run in runs}


def is_complete(results: Path, progress: Progress) -> bool:
    """Return whether report.html was rendered by the workflow, covers all runs, and is newer than every run."""
    page, tables = results / "report.html", results / "tables" / "metrics.parquet"
    if progress.unfinished or not (results / "figures").is_dir() or not page.is_file() or not tables.is_file():
        return False
    newest = max((folder / "metrics.parquet").stat().st_mtime_ns for folder in progress.finished)
    return newest <= tables.stat().st_mtime_ns <= page.stat().st_mtime_ns


def report(
    results: Path, options: ReportOptions, planned: Mapping[str, Planned], ended: bool = False, since_s: float = 0.0
) -> None:
    """Render report.html from the finished runs, and print the summary, even if the page cannot be rendered.

    Raises ValueError if the results folder is missing or the page cannot be rendered. For the arguments see
    `update_report`.
    """
    if not results.is_dir():
        raise ValueError(f"{results}: there is no such folder; run the workflow first")
    problem = None
    try:
        progress, tables = update_report(results, options, planned, ended, since_s)
    except ValueError as error:
        progress, tables, problem = read_progress(results, planned, ended, since_s), results / "none", error
    for line in summary_lines(progress, tables, options, results / "report.html"):
        print(line)
    if problem is not None:
        raise ValueError(f"the report cannot be rendered: {problem}") from problem


def update_report(
    results: Path, options: ReportOptions, planned: Mapping[str, Planned], ended: bool = False, since_s: float = 0.0
) -> tuple[Progress, Path]:
    """Render report.html, unless it is complete; return the progress and the folder of the tables that the page shows.

    For `ended` and `since_s` see `read_progress`.
    """
    progress = read_progress(results, planned, ended, since_s)
    if is_complete(results, progress) or _is_rendering(results, planned, ended):
        return progress, results / "tables"
    folder = results / FOLDER
    page = folder / "report.html"
    specs = [planned[name].spec for name in planned]
    datasets, texts, mined = _sources(results, specs)
    collect_metrics(progress.finished, results, folder / "tables")
    render_report(folder / "tables", options, datasets, mined, texts, page, folder / "figures", progress)
    if not _is_rendering(results, planned, ended):
        shutil.rmtree(results / "figures", ignore_errors=True)  # an output of render_report: the workflow renders again
        page.replace(results / "report.html")
    return progress, folder / "tables"


def _is_rendering(results: Path, planned: Iterable[str], ended: bool) -> bool:
    """Return whether the workflow may be rendering the complete report now, because every run is measured."""
    return not ended and all((results / "runs" / name / "metrics.parquet").is_file() for name in planned)


def _sources(
    results: Path, specs: list[RunSpec]
) -> tuple[list[tuple[str, Path, list[Path]]], list[Path], list[tuple[str, str, str, Path]]]:
    """Return the existing files that the report reads besides tables: data sets, text sets, then confusable classes."""
    datasets: dict[str, tuple[Path, list[Path]]] = {}
    texts: dict[Path, None] = {}
    mined: dict[tuple[str, str, str], Path] = {}
    for spec in specs:
        data = results / "data" / spec.dataset
        tables = data / spec.protocol / spec.backbone
        folder = data / "frames" / spec.frame_options.frame_set
        frames = [folder / f"{name}.arrow" for name in shard_names(data)]
        datasets.setdefault(spec.dataset, (data / "clips.parquet", frames))  # of the first set of frames
        texts[tables / "texts" / f"{spec.texts}.parquet"] = None
        mined[spec.dataset, spec.protocol, spec.backbone] = tables / "confusables.parquet"
    return (
        [
            (name, clips, [path for path in frames if path.is_file()])
            for name, (clips, frames) in sorted(datasets.items())
            if clips.is_file()
        ],
        sorted(path for path in texts if path.is_file()),
        [(*key, path) for key, path in sorted(mined.items()) if path.is_file()],
    )
