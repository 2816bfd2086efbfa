"""The report, one HTML file that opens without a network: `kinetext render-report`.

Here the tables are turned into what report.html.j2 shows, section by section; a section with nothing to show is left
out. Every number is an Estimate, and the template prints none without its interval, clips and seeds.
"""

import csv
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kinetext.config import ReportOptions
from kinetext.evaluation.retrieval import MEASURES, RANKED
from kinetext.report.collect import read_tables
from kinetext.report.figures import Estimate, Row, cost_plot, dot_plot
from kinetext.report.material import RULES, Dataset, about_dataset, about_texts, gallery
from kinetext.report.reference import beside
from kinetext.tables import written_whole

VIEWS = ("ordered", "reversed", "shuffled", "repeated")
REFERENCE = "names"  # the texts that the others are measured against, if a comparison has them

Comparison = tuple[str, str, str]  # dataset, protocol, split
Key = tuple[str, str]  # method, texts
Estimates = dict[Comparison, dict[tuple[str, str], dict[Key, Estimate]]]  # (metric, view) -> row -> number


def render_report(
    tables: Path, options: ReportOptions, datasets: list[Dataset], texts: list[Path], output: Path, figures: Path
) -> None:
    """Write the report, and its figures as PNG with the numbers as CSV into the folder `figures`.

    `tables` is the folder that `collect_metrics` wrote; `texts` are {dataset}/texts/{provider}.parquet.
    Raises ValueError if there are no metrics.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    metrics, runs, differences = read_tables(tables)
    if not metrics:
        raise ValueError(f"{tables}/metrics.parquet: holds no metrics; run at least one experiment before the report")
    found, figures = estimates(metrics), Path(figures)
    figures.mkdir(parents=True, exist_ok=True)
    comparisons = [_comparison(at, found[at], options, differences, runs, figures) for at in sorted(found, key=_order)]
    shown = {
        "title": options.title,
        "comparisons": comparisons,
        "datasets": [about_dataset(dataset, metrics, runs) for dataset in datasets],
        "reference": beside(options.reference, found),
        "galleries": _galleries(datasets, found, options.examples),
        "novel": _novel(found, options, figures),
        "texts": [about_texts(path) for path in texts],
        "rules": RULES,
    }
    _write_csv(figures / "metrics.csv", _long(found))
    _write_csv(figures / "differences.csv", differences)
    _write_csv(figures / "runs.csv", runs)
    page = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page.filters |= {
        "percent": _percent,
        "rank": "{:.1f}".format,
        "count": lambda n: "not recorded" if n is None else f"{n:,}",
    }
    with written_whole(output) as part:
        part.write_text(page.get_template("report.html.j2").render(shown), encoding="utf-8")


def estimates(metrics: list[dict[str, Any]]) -> Estimates:
    """The rows of `metrics`, averaged over seeds. A row that counted nothing (NaN or null) is left out."""
    seeds: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for row in metrics:
        if row["value"] is not None and row["value"] == row["value"]:
            comparison = (row["dataset"], row["protocol"], row["split"])
            seeds[comparison, (row["metric"], row["view"]), (row["method"], row["texts"])].append(row)
    found: Estimates = defaultdict(lambda: defaultdict(dict))
    for (comparison, measured, key), rows in seeds.items():
        value, low, high = (sum(row[c] for row in rows) / len(rows) for c in ("value", "low", "high"))
        values = [row["value"] for row in rows]
        clips = max(row["clips"] for row in rows)
        found[comparison][measured][key] = Estimate(value, low, high, min(values), max(values), len(rows), clips)
    return found


def _comparison(
    at: Comparison,
    found: dict[tuple[str, str], dict[Key, Estimate]],
    options: ReportOptions,
    differences: list[dict[str, Any]],
    runs: list[dict[str, Any]],
    figures: Path,
) -> dict[str, Any]:
    """All of one data set, protocol and split. Rows are sorted by the first headline metric, best first."""
    headline = _headline(found, options)
    first = found[headline[0], "ordered"]
    keys = sorted(first, key=lambda key: -first[key].value)
    apart = {
        ((row["method"], row["texts"]), (row["than_method"], row["than_texts"])): _difference(row)
        for row in differences
        if _place(row) == at
    }
    rules = [rule for rule in RULES if (f"pair_accuracy:{rule}", "ordered") in found]
    name, methods = "-".join(at), sorted({method for method, _ in keys})
    behind = {key: apart.get((key, keys[0])) for key in keys}
    in_pairs = {rule: found[f"pair_accuracy:{rule}", "ordered"] for rule in rules}
    pairs = {rule: {key: cells[key] for key in keys if key in cells} for rule, cells in in_pairs.items()}
    motion = [headline[0], *(f"pair_accuracy:{rule}" for rule in rules[:1])]
    # zero means not apart from the best by these clips; so does an interval that reaches it
    ties = [key for key in keys[1:] if (d := behind[key]) and d.high >= 0]
    return {
        "name": name,
        "title": _title(at),
        "order": keys,
        "headline": {metric: found[metric, "ordered"] for metric in headline},
        "ranked": [metric for metric in headline if _is_rank(metric)],
        "compared_by": next((row["metric"] for row in differences if _place(row) == at), headline[0]),
        "retrieval": _retrieval(keys, found),
        "best": first[keys[0]],
        "behind": behind,
        "ties": ties,
        "rank": dot_plot(
            f"rank-{name}",
            [(_label(k), [(k[0], first[k])]) for k in keys],
            f"{headline[0]}, percent",
            figures,
            keys=methods,
        ),
        **_added(name, keys, apart, figures),
        "pairs": pairs,
        "pair_plots": {
            rule: dot_plot(
                f"pairs-{rule}-{name}",
                [(_label(k), [(k[0], e)]) for k, e in cells.items()],
                "pair_accuracy, percent",
                figures,
                (0.5, "chance"),
                methods,
            )
            for rule, cells in pairs.items()
        },
        "motion": _motion(name, keys, found, motion, figures),
        **_cost(at, name, keys, first, runs, f"{headline[0]}, percent", figures),
    }


def _headline(found: dict[tuple[str, str], dict[Key, Estimate]], options: ReportOptions) -> list[str]:
    """The headline metrics of a comparison: those of classes, or those of captions. Raises ValueError for one that was
    not measured, for none, or if the first, which sorts the rows, is a rank.
    """
    captioned = any(_of_captions(metric) for metric, _ in found)
    own = [metric for metric in options.headline if _of_captions(metric) == captioned]
    missing = [metric for metric in own or options.headline if (metric, "ordered") not in found]
    if missing:
        known = sorted({metric for metric, _ in found if ":" not in metric})
        raise ValueError(f"report.headline: no metric '{missing[0]}' was measured; known: {', '.join(known)}")
    if _is_rank(own[0]):
        raise ValueError(f"report.headline: {own[0]} is a rank; let a share such as {own[0][:4]}r1 stand before it")
    return own


def _retrieval(keys: list[Key], found: dict[tuple[str, str], dict[Key, Estimate]]) -> dict[str, Any] | None:
    """Every measure of retrieval for each row, and apart for each way to change scores."""
    ordered = {metric: cells for (metric, view), cells in found.items() if view == "ordered"}
    changes = sorted({metric.partition(":")[2] for metric in ordered if _of_captions(metric)})  # "" is first: unchanged
    directions = {
        words: [f"{way}_{measure}" for measure in MEASURES]
        for way, words in (("t2v", "text to video"), ("v2t", "video to text"))
    }
    rows = {}
    for change in changes:
        for key in keys:
            cells = {
                metric: ordered.get(f"{metric}:{change}" if change else metric, {}).get(key)
                for metrics in directions.values()
                for metric in metrics
            }
            rows[change, key] = cells
    return {"directions": directions, "rows": rows, "ranked": [*filter(_is_rank, ordered)]} if rows else None


def _of_captions(metric: str) -> bool:
    return metric.startswith(("t2v_", "v2t_"))


def _is_rank(metric: str) -> bool:
    return _of_captions(metric) and metric[4:].partition(":")[0] in RANKED


def _added(name: str, keys: list[Key], apart: dict[tuple[Key, Key], Estimate], figures: Path) -> dict[str, Any]:
    """What other texts add over class names, method by method."""
    methods = list(dict.fromkeys(method for method, _ in keys))
    added = {key: apart.get((key, (key[0], REFERENCE))) for m in methods for key in keys if key[0] == m}
    added = {key: estimate for key, estimate in added.items() if estimate}
    rows: list[Row] = [(_label(key), [(key[0], estimate)]) for key, estimate in added.items()]
    axis = f"top1 minus top1 of the same method with {REFERENCE}, points"
    plot = dot_plot(f"texts-{name}", rows, axis, figures, (0.0, "no difference"), sorted(methods)) if rows else ""
    return {"added": added, "added_plot": plot}


def _motion(
    name: str, keys: list[Key], found: dict[tuple[str, str], dict[Key, Estimate]], metrics: list[str], figures: Path
) -> dict[str, Any]:
    """Accuracy by the order of the frames, metric by metric; nothing where only the true order was predicted."""
    shown = {}
    for metric in metrics:
        views = [view for view in VIEWS if (metric, view) in found]
        if len(views) > 1:
            cells = {key: {view: found[metric, view].get(key) for view in views} for key in keys}
            rows: list[Row] = [(_label(key), list(cells[key].items())) for key in keys]
            line = (0.5, "chance") if metric.startswith("pair_accuracy") else None
            plot = dot_plot(f"motion-{metric.replace(':', '-')}-{name}", rows, f"{metric}, percent", figures, line)
            shown[metric] = {"views": views, "cells": cells, "plot": plot}
    return shown


def _novel(found: Estimates, options: ReportOptions, figures: Path) -> list[dict[str, Any]]:
    """Classes that were never trained on beside those that were, for each data set and protocol that has both."""
    shown = []
    for dataset, protocol, split in sorted(found):
        metric = _headline(found[dataset, protocol, split], options)[0]
        base = found.get((dataset, protocol, "test"), {}).get((metric, "ordered"), {})
        if split == "novel" and base:
            novel = found[dataset, protocol, split][metric, "ordered"]
            keys = sorted((key for key in base if key in novel), key=lambda key: -novel[key].value)
            rows: list[Row] = [(_label(k), [("trained classes", base[k]), ("never seen", novel[k])]) for k in keys]
            plot = dot_plot(f"novel-{dataset}-{protocol}", rows, f"{metric}, percent", figures)
            title = f"{dataset}, {protocol}"
            shown.append({"title": title, "metric": metric, "order": keys, "base": base, "novel": novel, "plot": plot})
    return shown


def _cost(
    at: Comparison,
    name: str,
    keys: list[Key],
    first: dict[Key, Estimate],
    runs: list[dict[str, Any]],
    axis: str,
    figures: Path,
) -> dict[str, Any]:
    """What each row costs: its runs' numbers, averaged over seeds, with their range. Shown with the test split only."""
    if at[2] != "test":
        return {"cost": {}, "cost_plot": ""}
    cost: dict[Key, dict[str, Any]] = {}
    for key in keys:
        own = [r for r in runs if (r["dataset"], r["protocol"], r["method"], r["texts"]) == (*at[:2], *key)]
        seconds, speed = ([r[c] for r in own if r[c] is not None] for c in ("train_seconds", "predict_clips_per_s"))
        parameters = {
            c: next((r[c] for r in own if r[c] is not None), None) for c in ("new_parameters", "trained_parameters")
        }
        where = sorted({f"{r['device']}, {r['threads']} threads" for r in own if r["device"]})
        cost[key] = {"seconds": seconds, "speed": speed, **parameters, "where": "; ".join(where), "seeds": len(own)}
    points = [(*key, sum(c["seconds"]) / max(1, len(c["seconds"])), first[key]) for key, c in cost.items()]
    return {"cost": cost, "cost_plot": cost_plot(f"cost-{name}", points, axis, figures)}


def _galleries(datasets: list[Dataset], found: Estimates, examples: int) -> list[dict[str, Any]]:
    """Example pairs of each data set, with the numbers of its first comparison on test clips."""
    shown = []
    for dataset in datasets:
        at = next((at for at in sorted(found, key=_order) if (at[0], at[2]) == (dataset[0], "test")), None)
        if at is not None:
            measured = {metric: cells for (metric, view), cells in found[at].items() if view == "ordered"}
            pairs = gallery(dataset, measured, examples)
            shown += [{"title": _title(at), **pairs}] if pairs else []
    return shown


def _difference(row: dict[str, Any]) -> Estimate:
    """A row of the table `differences`; it has no range over seeds, for seeds are averaged clip by clip."""
    return Estimate(row["value"], row["low"], row["high"], row["value"], row["value"], row["seeds"], row["clips"])


def _place(row: dict[str, Any]) -> Comparison:
    return row["dataset"], row["protocol"], row["split"]


def _order(at: Comparison) -> tuple[str, str, int]:
    """Test before novel before anything else."""
    return at[0], at[1], {"test": 0, "novel": 1}.get(at[2], 2)


def _title(at: Comparison) -> str:
    return f"{at[0]}, {at[2]} clips, {at[1]}"


def _label(key: Key) -> str:
    return f"{key[0]} · {key[1]}"


def _percent(value: float, sign: bool = False) -> str:
    """A fraction in percent with one decimal; a true minus sign, for it is as wide as the plus."""
    return f"{round(100 * value, 1) + 0.0:{'+' if sign else ''}.1f}".replace("-", "−")  # noqa: RUF001


def _long(found: Estimates) -> Iterable[dict[str, Any]]:
    for (dataset, protocol, split), measured in found.items():
        for (metric, view), cells in measured.items():
            for (method, texts), estimate in cells.items():
                about = {"dataset": dataset, "protocol": protocol, "split": split, "metric": metric, "view": view}
                yield {**about, "method": method, "texts": texts, **vars(estimate)}


def _write_csv(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    rows = list(rows)
    with written_whole(path) as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)
