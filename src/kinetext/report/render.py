"""Render the report as one HTML file that needs no network: `kinetext render-report`.

This module computes what page/page.html.j2 shows, section by section; empty sections are left out. Every number is an
Estimate, and the template prints none without its interval, clips and seeds.
"""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kinetext.config.report import ReportOptions
from kinetext.core import palette
from kinetext.core.files import atomic_write
from kinetext.report.collect import read_tables
from kinetext.report.comparisons import comparison_sections
from kinetext.report.confusion import confusion_picture
from kinetext.report.curves import learning_curves
from kinetext.report.descriptions import control_of, description_sets
from kinetext.report.estimates import Estimates, csv_rows, estimates_of, pool_estimates, pooled_comparisons
from kinetext.report.formats import format_count, format_p, format_percent, format_value
from kinetext.report.gallery import galleries
from kinetext.report.inputs import summarize_dataset, summarize_texts
from kinetext.report.keys import Comparison, comparison_of, key_of, sort_key, title
from kinetext.report.novel import novel_classes
from kinetext.report.published import compare_with_published
from kinetext.report.sources import RULES, ConfusablesFile, DatasetFiles

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
) -> None:
    """Write the report, and into the folder `figures` its figures as PNG and its numbers as CSV.

    `tables` is the output folder of `collect_metrics`; `datasets` and `confusables` are rows of sources.DatasetFiles
    and sources.ConfusablesFile; `texts` are {dataset}/{protocol}/{backbone}/texts/{name}.parquet. Raises ValueError if
    there are no metrics, or if the options name something unknown.
    """
    rows = read_tables(tables)
    if not rows["metrics"]:
        raise ValueError(f"{tables}/metrics.parquet: holds no metrics; run at least one experiment before the report")
    figures.mkdir(parents=True, exist_ok=True)
    pools = pooled_comparisons(rows["differences"])
    estimates = _all_estimates(rows, pools)
    dataset_files = [DatasetFiles(*files) for files in datasets]
    confusable_files = [ConfusablesFile(*file) for file in confusables]
    descriptions = description_sets(texts, options.descriptions)
    sections = _comparisons(estimates, options, rows, pools, descriptions, figures)
    text_comparisons = {section["comparison"]: section["text_comparisons"] for section in sections}
    content = {
        "title": options.title,
        "comparisons": sections,
        "pools": pools,
        "parts": {comparison._replace(dataset=name) for comparison, names in pools.items() for name in names},
        "several_backbones": len({run["backbone"] for run in rows["runs"]}) > 1,
        "datasets": [summarize_dataset(dataset, rows["metrics"], rows["runs"]) for dataset in dataset_files],
        "published": compare_with_published(options.reference, estimates),
        "confusion": [picture for file in confusable_files if (picture := confusion_picture(file, figures))],
        "galleries": galleries(dataset_files, confusable_files, estimates, rows["runs"], options.examples),
        "novel": novel_classes(estimates, options, text_comparisons, figures),
        "curves": learning_curves(rows["curves"], figures),
        "texts": [summarize_texts(path) for path in texts],
        "controls": sorted({path.stem for path in texts if control_of(path) not in (None, "names")}),
        "rules": RULES,
        "palette": palette,
    }
    for name, table in (
        ("metrics", csv_rows(estimates)),
        ("differences", rows["differences"]),
        ("costs", rows["costs"]),
    ):
        _write_csv(figures / f"{name}.csv", table)
    _write_page(content, output)


def _all_estimates(rows: dict[str, Rows], pools: Pools) -> Estimates:
    """Return the estimates of all comparisons, means over data sets included."""
    estimates = estimates_of(rows["metrics"])
    for comparison, names in pools.items():
        keys = {key_of(row) for row in rows["differences"] if comparison_of(row) == comparison}
        estimates[comparison] = pool_estimates(estimates, comparison, names, keys)
    return estimates


def _comparisons(
    estimates: Estimates,
    options: ReportOptions,
    rows: dict[str, Rows],
    pools: Pools,
    descriptions: list[str],
    figures: Path,
) -> list[dict[str, Any]]:
    """Return the sections of all comparisons, sorted."""
    sections = []
    for comparison in sorted(estimates, key=sort_key):
        datasets = pools.get(comparison, [comparison.dataset])
        differences = [row for row in rows["differences"] if comparison_of(row) == comparison]
        costs = [r for r in rows["costs"] if r["dataset"] in datasets and r["protocol"] == comparison.protocol]
        sections.append(
            comparison_sections(comparison, estimates[comparison], options, differences, costs, descriptions, figures)
        )
    return sections


def _write_page(content: dict[str, Any], output: Path) -> None:
    """Render the template."""
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
    }
    with atomic_write(output) as part:
        part.write_text(environment.get_template("page.html.j2").render(content), encoding="utf-8")


def _write_csv(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    rows = list(rows)
    with atomic_write(path) as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)
