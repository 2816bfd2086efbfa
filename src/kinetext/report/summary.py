"""The summary in the terminal after a study: results, warnings, errors and the path of the report, in this order."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kinetext.config.report import ReportOptions
from kinetext.core.escape import for_terminal
from kinetext.evaluation.intervals import Estimate
from kinetext.report.collect import read_tables
from kinetext.report.comparisons import headline_metrics, paired_differences
from kinetext.report.estimates import Measured, all_estimates, averaged_comparisons, chance_text, pooled_comparisons
from kinetext.report.formats import format_value
from kinetext.report.keys import Comparison, RowKey, comparison_of, row_labels, sort_key, title
from kinetext.report.progress import Progress, Unfinished
from kinetext.report.verdicts import verdict_sentences

MAX_COMPARISONS = 6
MAX_ROWS = 12  # of a comparison
MAX_WARNINGS = 20
MAX_ERRORS = 8
WIDTH = 100  # characters of an error or a warning that are shown in one line, at least


def summary_lines(progress: Progress, tables: Path, options: ReportOptions, page: Path) -> Iterator[str]:
    """Yield the lines of the summary. The last one is about the report `page`."""
    yield from result_lines(progress, tables, options)
    yield from warning_lines(progress)
    yield from error_lines(progress)
    num_open = sum(len(row.seeds) for row in progress.unfinished)
    num_runs = num_open + len(progress.finished)
    if not page.is_file():
        yield f"Report: none; {num_open} of {num_runs} runs are not finished"
    elif num_open:
        yield f"Report: {page} ({num_open} of {num_runs} runs are not finished; the same command resumes)"
    else:
        yield f"Report: {page}"


def result_lines(progress: Progress, tables: Path, options: ReportOptions) -> Iterator[str]:
    """Yield a small table for each comparison, except those among all classes.

    A mean over data sets or draws replaces the tables of its parts.
    """
    empty: dict[str, list[dict[str, Any]]] = {"metrics": [], "differences": [], "clip_variances": []}
    rows = read_tables(tables) if (tables / "metrics.parquet").is_file() else empty
    pools = pooled_comparisons(rows["differences"])
    estimates = all_estimates(rows, pools)
    parts = averaged_comparisons(estimates, pools)
    shown = [comparison for comparison in sorted(estimates, key=sort_key) if comparison not in parts]
    shown = [comparison for comparison in shown if not comparison.split.endswith("_among_all")]
    for comparison in shown[:MAX_COMPARISONS]:
        tested = [row for row in rows["differences"] if comparison_of(row) == comparison]
        yield from _comparison_lines(comparison, estimates[comparison], tested, progress.unfinished, options)
    if len(shown) > MAX_COMPARISONS:
        yield f"{len(shown) - MAX_COMPARISONS} further comparisons are in the report."
    for row in progress.unfinished:
        if row.comparison not in shown[:MAX_COMPARISONS]:
            yield f"{row.comparison.dataset}, {row.comparison.protocol}: {_unfinished_line(row)}"


def _comparison_lines(
    comparison: Comparison,
    measured: Measured,
    tested: list[dict[str, Any]],
    unfinished: list[Unfinished],
    options: ReportOptions,
) -> Iterator[str]:
    metric = headline_metrics(measured, options, options.headline)[0]
    cells: dict[RowKey, Estimate] = measured[metric, "ordered"]
    keys = sorted(cells, key=lambda key: -cells[key].value)
    labels = row_labels(keys)
    width = max(map(len, labels.values()))
    chance = chance_text(cells.values())
    yield f"{title(comparison)}: {metric}, percent{f' (chance {chance})' if chance else ''}"
    for key in keys[:MAX_ROWS]:
        cell = cells[key]
        value, low, high = (format_value(number, cell.unit) for number in (cell.value, cell.low, cell.high))
        seeds = f"{cell.seeds} seed{'s' if cell.seeds > 1 else ''}"
        yield f"  {labels[key]:{width}}  {value:>5} [{low}, {high}]  {seeds}, {cell.clips:,} clips"
    if len(keys) > MAX_ROWS:
        yield f"  and {len(keys) - MAX_ROWS} more rows"
    for row in unfinished:
        if row.comparison == comparison:
            yield f"  {_unfinished_line(row)}"
    pairs = paired_differences(tested, metric)  # none if another metric is tested in its place
    yield from (f"  {sentence}" for sentence in verdict_sentences(metric, {key: cells[key] for key in keys}, pairs))
    yield ""


def _unfinished_line(row: Unfinished) -> str:
    seeds = f"seed{'s' if len(row.seeds) > 1 else ''} {', '.join(map(str, row.seeds))}"
    return for_terminal(f"{row.key.method_title} · {row.key.texts}  {row.state} ({seeds}): {_one_line(row.reason)}")


def warning_lines(progress: Progress) -> Iterator[str]:
    """Yield the warnings, with the number of jobs that gave each."""
    warnings = list(progress.warnings.items())
    if warnings:
        yield f"Warnings ({len(warnings)}):"
    for text, jobs in warnings[:MAX_WARNINGS]:
        yield for_terminal(f"  {text}{f' ({jobs} jobs)' if jobs > 1 else ''}")
    if len(warnings) > MAX_WARNINGS:
        yield f"  and {len(warnings) - MAX_WARNINGS} more, in the report"
    if warnings:
        yield ""


def error_lines(progress: Progress) -> Iterator[str]:
    """Yield the errors of failed jobs, each with its log."""
    errors = list(progress.errors.items())
    if errors:
        yield f"Failed ({len(errors)}):"
    for text, log in errors[:MAX_ERRORS]:
        yield from (for_terminal(f"  {line}") for line in text.splitlines())
        yield f"    log: {log}"
    if len(errors) > MAX_ERRORS:
        yield f"  and {len(errors) - MAX_ERRORS} more, in the report"
    if errors:
        yield ""


def _one_line(text: str) -> str:
    """Return the first line of an error, shortened to WIDTH characters. The whole error follows below the tables."""
    line = text.splitlines()[0]
    return line if len(line) <= WIDTH else line[: WIDTH - 3] + "..."
