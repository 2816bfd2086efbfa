"""The report, one HTML file that opens without a network: `kinetext render-report`.

Here the tables are turned into what report.html.j2 shows, section by section; a section with nothing to show is left
out. Every number is an Estimate, and the template prints none without its interval, clips and seeds.
"""

import csv
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kinetext.config.report import ReportOptions
from kinetext.core.files import atomic_write
from kinetext.report.collect import read_tables
from kinetext.report.comparisons import about_comparison
from kinetext.report.confusion import confusion_picture
from kinetext.report.curves import learning_curves
from kinetext.report.descriptions import control_of, described_tables
from kinetext.report.estimates import Estimates, estimates, key_of, long_rows, order, place, pooled, pools, title
from kinetext.report.figures import amount
from kinetext.report.material import RULES, Dataset, Mined, about_dataset, about_texts, gallery
from kinetext.report.novel import novel_classes
from kinetext.report.reference import beside


def render_report(
    tables: Path,
    options: ReportOptions,
    datasets: list[Dataset],
    mined: list[Mined],
    texts: list[Path],
    output: Path,
    figures: Path,
) -> None:
    """Write the report, and its figures as PNG with the numbers as CSV into the folder `figures`.

    `tables` is the folder that `collect_metrics` wrote; `mined` are the tables of confusables, one for each data set, protocol
    and backbone; `texts` are {dataset}/{protocol}/{backbone}/texts/{name}.parquet.
    Raises ValueError if there are no metrics, or if the options name what is not there.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    read = read_tables(tables)
    metrics, runs, costs, differences = (read[name] for name in ("metrics", "runs", "costs", "differences"))
    if not metrics:
        raise ValueError(f"{tables}/metrics.parquet: holds no metrics; run at least one experiment before the report")
    found, figures = estimates(metrics), Path(figures)
    figures.mkdir(parents=True, exist_ok=True)
    described = described_tables(texts, options.descriptions)
    pool = pools(differences)
    for at, of in pool.items():
        rows = {key_of(row) for row in differences if place(row) == at}
        found[at] = defaultdict(dict, pooled(found, at, of, rows))
    comparisons = []
    for at in sorted(found, key=order):
        own = [row for row in differences if place(row) == at]
        paid = [row for row in costs if row["dataset"] in pool.get(at, [at[0]]) and row["protocol"] == at[1]]
        comparisons.append(about_comparison(at, found[at], options, own, paid, described, figures))
    parts = {(dataset, *at[1:]) for at, of in pool.items() for dataset in of}
    shown = {
        "title": options.title,
        "comparisons": comparisons,
        "parts": parts,
        "pools": pool,
        "several_backbones": len({run["backbone"] for run in runs}) > 1,
        "datasets": [about_dataset(dataset, metrics, runs) for dataset in datasets],
        "reference": beside(options.reference, found),
        "confusion": [picture for place in mined if (picture := confusion_picture(place, figures))],
        "galleries": _galleries(datasets, mined, found, runs, options.examples),
        "novel": novel_classes(found, options, {c["at"]: c["help"] for c in comparisons}, figures),
        "curves": learning_curves(read["curves"], figures),
        "texts": [about_texts(path) for path in texts],
        "controls": sorted({path.stem for path in texts if control_of(path) not in (None, "names")}),
        "rules": RULES,
    }
    _write_csv(figures / "metrics.csv", long_rows(found))
    _write_csv(figures / "differences.csv", differences)
    _write_csv(figures / "costs.csv", costs)
    page = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page.filters |= {
        "percent": _percent,
        "amount": amount,
        "title": title,
        "p": words_for_p,
        "count": lambda n: "not recorded" if n is None else f"{n:,}",
    }
    with atomic_write(output) as part:
        part.write_text(page.get_template("report.html.j2").render(shown), encoding="utf-8")


def _galleries(
    datasets: list[Dataset], mined: list[Mined], found: Estimates, runs: list[dict[str, Any]], examples: int
) -> list[dict[str, Any]]:
    """Example pairs of each table of confusables, with the numbers of the rows on test clips that were measured with it."""
    by_name, shown = {dataset[0]: dataset for dataset in datasets}, []
    for dataset, protocol, backbone, path in mined:
        wanted = (dataset, protocol, backbone)
        keys = {key_of(r) for r in runs if (r["dataset"], r["protocol"], r["backbone"]) == wanted}
        measured = {
            metric: {key: estimate for key, estimate in cells.items() if key in keys}
            for (metric, order), cells in found.get((dataset, protocol, "test"), {}).items()
            if order == "ordered" and keys & cells.keys()
        }
        pairs = gallery(by_name[dataset], path, measured, examples)
        if pairs:
            several = len({m[2] for m in mined if m[:2] == wanted[:2]}) > 1
            shown.append({"title": f"{dataset}, {protocol}{f', {backbone}' if several else ''}", **pairs})
    return shown


def _percent(value: float, sign: bool = False) -> str:
    """A fraction in percent with one decimal; a true minus sign, for it is as wide as the plus."""
    return f"{round(100 * value, 1) + 0.0:{'+' if sign else ''}.1f}".replace("-", "−")  # noqa: RUF001


def words_for_p(p: float) -> str:
    """A p as it is read: the small ones by their bound."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _write_csv(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    rows = list(rows)
    with atomic_write(path) as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)
