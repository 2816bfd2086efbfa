"""Render the report as one HTML file that needs no network: `kinetext render-report`.

This module computes what page/page.html.j2 shows, section by section. Empty sections are left out. Every result is an
Estimate, and the template prints none without its interval, clips and seeds.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kinetext.config.report import ReportOptions
from kinetext.core import palette
from kinetext.core.escape import write_csv
from kinetext.core.files import atomic_write
from kinetext.core.tables import read_rows
from kinetext.report.audit import PROBES, audit_sections
from kinetext.report.calibration import calibration_sections, class_size_sections
from kinetext.report.classes import class_accuracies, class_rows, class_tables, hard_clip_strips
from kinetext.report.collect import read_tables
from kinetext.report.comparisons import comparison_sections
from kinetext.report.confusion import confusion_picture
from kinetext.report.cost import answer_sentences
from kinetext.report.curves import learning_curves
from kinetext.report.descriptions import control_of, description_sets
from kinetext.report.estimates import (
    Estimates,
    all_estimates,
    averaged_comparisons,
    averaged_rows,
    chance_of,
    chance_text,
    csv_rows,
    left_out_sentence,
    pooled_comparisons,
)
from kinetext.report.formats import format_count, format_p, format_percent, format_value
from kinetext.report.gallery import galleries
from kinetext.report.inputs import summarize_dataset, summarize_texts
from kinetext.report.keys import Comparison, comparison_of, sort_key, title
from kinetext.report.kinds import kind_sections
from kinetext.report.novel import novel_classes
from kinetext.report.progress import Progress, count_warnings
from kinetext.report.published import compare_with_published
from kinetext.report.ranks import rank_section
from kinetext.report.sources import RULES, ConfusablesFile, DatasetFiles
from kinetext.report.tuning import tuning_sections, unequal_budgets

Rows = list[dict[str, Any]]
Pools = dict[Comparison, list[str]]  # mean over data sets -> their names


def render_report(
    tables: Path,
    options: ReportOptions,
    datasets: Iterable[tuple[str, Path, list[Path]]],
    confusables: Iterable[tuple[str, str, str, Path]],
    texts: list[Path],
    output: Path,
    figures: Path,
    progress: Progress | None = None,
) -> None:
    """Write the report to `output`, and its figures (PNG) and tables (CSV) into the folder `figures`.

    `tables` is the output folder of `collect_metrics`. `datasets` and `confusables` are the fields of
    sources.DatasetFiles and sources.ConfusablesFile. `texts` are {dataset}/{protocol}/{backbone}/texts/{name}.parquet.
    `progress` is that of a study with unfinished runs; None if all runs are finished. Raises ValueError if there are no
    metrics and no `progress`, or if the options name something unknown.
    """
    rows = read_tables(tables)
    if not rows["metrics"] and progress is None:
        raise ValueError(f"{tables}/metrics.parquet: holds no metrics; run at least one experiment before the report")
    figures.mkdir(parents=True, exist_ok=True)
    pools = pooled_comparisons(rows["differences"])
    estimates = all_estimates(rows, pools)
    dataset_files = [DatasetFiles(*files) for files in datasets]
    confusable_files = [ConfusablesFile(*file) for file in confusables]
    descriptions = description_sets(texts, options.descriptions)
    sections = _comparisons(estimates, options, rows, pools, descriptions, figures)
    accuracies = class_accuracies(rows["confusions"])
    clips = {dataset.name: read_rows("clips", dataset.clips) for dataset in dataset_files} if rows["hard_clips"] else {}
    text_comparisons = {section["comparison"]: section["text_comparisons"] for section in sections}
    content = {
        "title": options.title,
        **_open_ends(progress, rows["runs"], tables.parent / "logs"),
        "comparisons": sections,
        "pools": pools,
        "parts": averaged_comparisons(estimates, pools),
        "several_backbones": len(_backbones(rows["runs"], progress)) > 1,
        "datasets": [summarize_dataset(dataset, rows["metrics"], rows["runs"]) for dataset in dataset_files],
        "published": compare_with_published(options.reference, estimates),
        "confusion": [picture for file in confusable_files if (picture := confusion_picture(file, figures))],
        "galleries": galleries(dataset_files, confusable_files, estimates, rows["runs"], options.examples),
        "classes": class_tables(accuracies, {section["comparison"]: section["row_keys"] for section in sections}),
        "hard": hard_clip_strips(rows["hard_clips"], dataset_files, clips, options.examples),
        "novel": novel_classes(estimates, options, text_comparisons, rows["differences"], rows["seen_unseen"], figures),
        "calibration": calibration_sections(estimates, rows["runs"], rows["risk_coverage"], pools, figures),
        "kinds": kind_sections(estimates, figures),
        "audits": audit_sections(dataset_files),
        "probes": list(PROBES.values()),
        "class_sizes": class_size_sections(estimates, rows["runs"]),
        "curves": learning_curves(rows["curves"], _validation_chance(estimates), figures),
        "tuning": tuning_sections(rows["tuning"], _validation_chance(estimates), figures),
        "texts": [summarize_texts(path) for path in texts],
        "controls": sorted({path.stem for path in texts if control_of(path) not in (None, "names")}),
        "rules": RULES,
        "palette": palette,
    }
    _write_csvs(rows, estimates, class_rows(accuracies), figures)
    _write_page(content, output)


def _write_csvs(rows: dict[str, Rows], estimates: Estimates, classes: Iterable[dict[str, Any]], figures: Path) -> None:
    """Write the numbers of the page as CSV files."""
    for name, table in (
        ("metrics", csv_rows(estimates)),
        ("differences", rows["differences"]),
        ("costs", rows["costs"]),
        ("class_accuracy", classes),
        *([("tuning", rows["tuning"])] if rows["tuning"] else []),
    ):
        write_csv(figures / f"{name}.csv", table)


def _validation_chance(estimates: Estimates) -> dict[tuple[str, str], float | None]:
    """Return the chance level on validation clips by data set and protocol. They are scored among the test classes."""
    return {
        (comparison.dataset, comparison.protocol): chance_of(measured.get(("top1", "ordered"), {}).values())
        for comparison, measured in estimates.items()
        if comparison.split == "test"
    }


def _open_ends(progress: Progress | None, runs: Rows, logs: Path) -> dict[str, Any]:
    """Return the unfinished runs, the number of finished runs, and the warnings of all jobs, for the page."""
    if progress is not None:
        return {"unfinished": progress.unfinished, "finished": len(progress.finished), "warnings": progress.warnings}
    names = [tuple(run[key] for key in ("run", "dataset", "protocol", "backbone", "texts")) for run in runs]
    return {"unfinished": [], "finished": len(runs), "warnings": count_warnings(logs, names)}


def _backbones(runs: Rows, progress: Progress | None) -> set[str]:
    return {run["backbone"] for run in runs} | {row.key.backbone for row in (progress.unfinished if progress else [])}


def _comparisons(
    estimates: Estimates,
    options: ReportOptions,
    rows: dict[str, Rows],
    pools: Pools,
    descriptions: list[str],
    figures: Path,
) -> list[dict[str, Any]]:
    """Return the section of each comparison, in the order of `sort_key`."""
    sections = []
    elsewhere = {metric for measured in estimates.values() for metric, _ in measured}
    for comparison in sorted(estimates, key=sort_key):
        differences = [row for row in rows["differences"] if comparison_of(row) == comparison]
        costs = averaged_rows(rows["costs"], comparison, estimates, pools)
        curves = [
            r
            for r in rows["curves"]
            if (r["dataset"], r["protocol"]) == comparison[:2] and r["metric"].startswith("val_")
        ]
        parts = (differences, costs, curves if comparison.split == "test" else [], descriptions)
        section = comparison_sections(comparison, estimates[comparison], options, *parts, figures, elsewhere)
        tested = next((row for row in differences if row["metric"] == section["tested_metric"]), None)
        ranks = rank_section(estimates, comparison, tested, section["tested_metric"], figures)
        runs = averaged_rows(rows["runs"], comparison, estimates, pools)
        budgets = unequal_budgets(runs, rows["costs"])
        answered = answer_sentences(runs, set(section["row_keys"]))
        left_out = left_out_sentence(estimates, pools, comparison)
        sections.append({**section, "ranks": ranks, "budgets": budgets, "answered": answered, "left_out": left_out})
    return sections


def _write_page(content: dict[str, Any], output: Path) -> None:
    """Render the template of the page to the file `output`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters |= {
        "percent": format_percent,
        "amount": format_value,
        "title": title,
        "p": format_p,
        "count": format_count,
        "chance": chance_text,
    }
    with atomic_write(output) as part:
        part.write_text(environment.get_template("page.html.j2").render(content), encoding="utf-8")
