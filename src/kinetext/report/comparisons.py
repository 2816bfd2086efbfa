"""The sections on one comparison: results, retrieval, text sets, confusable pairs, motion probes and cost.

Rows are sorted by the first headline metric, the best first.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinetext.config.report import ReportOptions
from kinetext.core.schemas import FRAME_ORDERS
from kinetext.evaluation.intervals import Estimate
from kinetext.evaluation.measure import is_tested
from kinetext.evaluation.metrics import task_of
from kinetext.evaluation.paired import Difference
from kinetext.report.cost import cost_section
from kinetext.report.descriptions import compare_texts
from kinetext.report.estimates import Measured, chance_of, chance_text, difference_of
from kinetext.report.figures.dots import PlotRow, dot_plot
from kinetext.report.formats import format_percent
from kinetext.report.keys import Comparison, RowKey, file_name, key_of, method_names, row_labels, title
from kinetext.report.sources import BACKBONE_RULES, RULES
from kinetext.report.verdicts import VALIDATION_METRICS, did_not_learn, verdict_sentences

DIRECTIONS = {"t2v_": "text to video", "v2t_": "video to text"}  # prefixes of metrics of captions
FIRST = {"classes": "top1", "labels": "map", "captions": "t2v_r1"}  # metric that may come first, of each task


@dataclass(frozen=True)
class _Rows:
    """The sorted rows of a comparison, with what its figures have in common."""

    file_name: str
    keys: list[RowKey]
    measured: Measured
    figures: Path

    @property
    def methods(self) -> dict[RowKey, str]:
        """The method of each row, with the backbone if there are several. Figures use it as the series."""
        return method_names(self.keys)

    def plot(self, name: str, cells: dict[RowKey, Estimate], axis: str) -> str:
        """Plot one estimate per row, coloured by method, with a line at the chance level. Returns SVG."""
        methods, labels, line = self.methods, row_labels(self.keys), _chance_line(cells.values())
        rows: list[PlotRow] = [(labels[key], [(methods[key], estimate)]) for key, estimate in cells.items()]
        return dot_plot(name, rows, axis, self.figures, line, sorted(set(methods.values())))


def comparison_sections(
    comparison: Comparison,
    measured: Measured,
    options: ReportOptions,
    differences: list[dict[str, Any]],
    costs: list[dict[str, Any]],
    curves: list[dict[str, Any]],
    descriptions: list[str],
    figures: Path,
    elsewhere: Collection[str] = (),
) -> dict[str, Any]:
    """Return everything that the page shows about one comparison.

    `differences`, `costs` and `curves` are the rows of these tables that belong to the comparison. `descriptions` are
    the text sets with motion descriptions. `elsewhere` are the metrics that were measured in any comparison.
    """
    headline = headline_metrics(measured, options, elsewhere)
    main = measured[headline[0], "ordered"]
    keys = sorted(main, key=lambda key: -main[key].value)
    rows = _Rows(file_name(comparison), keys, measured, figures)
    tested_metric = metric_of_tests(headline[0])
    paired = paired_differences(differences, tested_metric)
    from_best = {key: paired[key, keys[0]] for key in keys[1:] if (key, keys[0]) in paired}
    rules = [rule for rule in RULES if (f"pair_accuracy:{rule}", "ordered") in measured]
    axis = f"{headline[0]}, percent"
    task, top1_chance = task_of(headline[0]), chance_of(measured.get(("top1", "ordered"), {}).values())
    curves_of = {key: [row for row in curves if key_of(row) == key] for key in keys}
    unlearned = [key for key in keys if did_not_learn(curves_of[key], task, top1_chance)]
    return {
        "comparison": comparison,
        "title": title(comparison),
        "row_keys": keys,
        "headline": {metric: measured[metric, "ordered"] for metric in headline},
        "tested_metric": tested_metric,
        "best": main[keys[0]],
        "chance": chance_text(main.values()),
        "from_best": from_best,
        "methods": all(difference.methods for difference in from_best.values()),
        "scope": scope_sentence(from_best.values()),
        "verdict": verdict_sentences(
            headline[0], {key: main[key] for key in keys}, paired if tested_metric == headline[0] else {}, unlearned
        ),
        "unlearned": unlearned,
        "validation_metric": VALIDATION_METRICS[task].removeprefix("val_"),
        "ranking": rows.plot(f"rank-{rows.file_name}", {key: main[key] for key in keys}, axis),
        "retrieval": _retrieval(rows, differences),
        "text_comparisons": compare_texts(rows.file_name, keys, paired, descriptions, figures),
        "pairs": _pairs(rows, rules, differences),
        "motion": _motion(rows, [headline[0], *(f"pair_accuracy:{rule}" for rule in rules[:1])]),
        "cost": cost_section(comparison, keys, main, costs, options.cost, axis, figures),
    }


def metric_of_tests(headline: str) -> str:
    """Return the metric that is tested for a headline metric: the same one if possible, else top1, lrap or t2v_r1."""
    return headline if is_tested(headline) else {"captions": "t2v_r1", "labels": "lrap"}.get(task_of(headline), "top1")


def paired_differences(differences: list[dict[str, Any]], metric: str) -> dict[tuple[RowKey, RowKey], Difference]:
    """Return the differences between two rows of a comparison in a metric, by (row, subtracted row)."""
    return {(key_of(row), key_of(row, "than_")): difference_of(row) for row in differences if row["metric"] == metric}


def from_best_row(cells: dict[RowKey, Estimate], differences: list[dict[str, Any]], metric: str) -> dict[RowKey, Any]:
    """Return the difference of each row from the best row in a metric; None for the best row. Empty without tests."""
    best = max(cells, key=lambda key: cells[key].value)
    paired = paired_differences(differences, metric)
    tested = {key: paired[key, best] for key in cells if (key, best) in paired}
    return {best: None, **tested} if tested else {}


def scope_sentence(differences: Iterable[Difference]) -> str:
    """Return whether tests are about methods or weights, and how much two seeds of a row differ; "" without tests.

    If draws of few-shot clips are averaged, a draw counts as a seed.
    """
    differences = list(differences)
    if not differences:
        return ""
    one = "draw" if differences[0].draws > 1 else "seed"
    about = (
        f"The tests are about these trained weights, not about methods: that needs three {one}s of each trained row."
    )
    if all(difference.methods for difference in differences):
        about = f"The tests are about methods: they include how much training varies between {one}s."
    apart = differences[0].seed_range
    if apart is None and differences[0].methods:
        return "Nothing was trained, so that the tests are about methods."
    if apart is None:
        return f"{about} How far two {one}s of one row are apart is not known: each row has one {one}."
    return f"{about} The largest difference between two {one}s of one row is {format_percent(apart)} points."


def headline_metrics(measured: Measured, options: ReportOptions, elsewhere: Collection[str] = ()) -> list[str]:
    """Return the headline metrics that apply to a comparison: of classes, of several labels per clip, or of captions.

    The first metric sorts the rows. Any other metric that was measured only in other comparisons (`elsewhere`) is left
    out. Raises ValueError if no metric applies, if the first was not measured here, or if another was measured nowhere.
    Also raises it if the unit of the first is not "share" or lower values are better.
    """
    tasks = {task_of(metric) for metric, _ in measured}
    task = next(task for task in ("captions", "labels", "classes") if task in tasks)
    headline = [metric for metric in options.headline if task_of(metric) == task]
    headline = headline[:1] + [m for m in headline[1:] if (m, "ordered") in measured or m not in elsewhere]
    missing = [metric for metric in headline or options.headline if (metric, "ordered") not in measured]
    if missing:
        known = sorted({metric for metric, _ in measured if ":" not in metric})
        raise ValueError(f"report.headline: no metric '{missing[0]}' was measured; known: {', '.join(known)}")
    first = next(iter(measured[headline[0], "ordered"].values()))
    if first.unit != "share" or not first.higher_is_better:
        raise ValueError(
            f"report.headline: {headline[0]} cannot come first: rows are sorted by the first metric, which must be a "
            f"share where higher is better; put {FIRST[task]} before it"
        )
    return headline


def _is_of_captions(metric: str) -> bool:
    return metric.startswith(tuple(DIRECTIONS))


def _retrieval(rows: _Rows, differences: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return every metric of retrieval for each row, with plain and changed scores; None if clips have no captions."""
    cells = {
        metric: by_key
        for (metric, frame_order), by_key in rows.measured.items()
        if frame_order == "ordered" and _is_of_captions(metric)
    }
    changes = sorted({metric.partition(":")[2] for metric in cells})  # "" comes first: scores as they are
    names = dict.fromkeys(metric[4:] for metric in cells if ":" not in metric)
    directions = {words: [f"{prefix}{name}" for name in names] for prefix, words in DIRECTIONS.items()}
    metrics = [metric for direction in directions.values() for metric in direction]
    table = {
        (change, key): {
            metric: cells.get(f"{metric}:{change}" if change else metric, {}).get(key) for metric in metrics
        }
        for change in changes
        for key in rows.keys
    }
    columns = {words: [list(cells.get(name, {}).values()) for name in names] for words, names in directions.items()}
    tested = {words: f"{prefix}r1" for prefix, words in DIRECTIONS.items() if f"{prefix}r1" in cells}
    from_best = {words: from_best_row(cells[metric], differences, metric) for words, metric in tested.items()}
    shown = {"directions": directions, "rows": table, "columns": columns, "from_best": from_best}
    return shown if table else None


def _chance_line(cells: Iterable[Estimate]) -> tuple[float, str] | None:
    """Return the chance level and its name as the reference line of a figure; None if the level is unknown."""
    chance = chance_of(cells)
    return None if chance is None else (chance, "chance")


def _pairs(rows: _Rows, rules: list[str], differences: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the accuracy within confusable pairs by rule, separately for each backbone if the pairs depend on it."""
    backbones = sorted({key.backbone for key in rows.keys})
    shown = []
    for rule in rules:
        by_key = rows.measured[f"pair_accuracy:{rule}", "ordered"]
        separate = rule in BACKBONE_RULES and len(backbones) > 1
        for group in [[backbone] for backbone in backbones] if separate else [backbones]:
            cells = {key: by_key[key] for key in rows.keys if key.backbone in group and key in by_key}
            if cells:
                name = "-".join([f"pairs-{rule}-{rows.file_name}", *(group if separate else [])])
                plot = rows.plot(name, cells, "pair_accuracy, percent")
                shown.append(
                    {
                        "rule": rule,
                        "backbone": group[0] if separate else None,
                        "cells": cells,
                        "plot": plot,
                        "from_best": from_best_row(cells, differences, f"pair_accuracy:{rule}"),
                    }
                )
    return shown


def _motion(rows: _Rows, metrics: list[str]) -> dict[str, Any]:
    """Return metrics by frame order. A metric that was measured with the frames in order only is left out."""
    shown, labels = {}, row_labels(rows.keys)
    for metric in metrics:
        orders = [order for order in FRAME_ORDERS if (metric, order) in rows.measured]
        if len(orders) > 1:
            cells = {key: {order: rows.measured[metric, order].get(key) for order in orders} for key in rows.keys}
            points: list[PlotRow] = [(labels[key], list(cells[key].items())) for key in rows.keys]
            name = f"motion-{metric.replace(':', '-')}-{rows.file_name}"
            line = _chance_line(rows.measured[metric, "ordered"].values())
            plot = dot_plot(name, points, f"{metric}, percent", rows.figures, line)
            ordered = list(rows.measured[metric, "ordered"].values())
            shown[metric] = {"orders": orders, "cells": cells, "plot": plot, "chance": ordered}
    return shown
