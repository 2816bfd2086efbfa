"""All that the report says of one comparison: a data set, a protocol and a split (or the mean over data sets), its rows
sorted best first.
"""

from pathlib import Path
from typing import Any

from kinetext.config.report import ReportOptions
from kinetext.core.schemas import FRAME_ORDERS
from kinetext.report.descriptions import against_others
from kinetext.report.estimates import (
    Comparison,
    Key,
    Measured,
    corrected,
    difference,
    file_name,
    key_of,
    labels,
    method_names,
    title,
)
from kinetext.report.figures import Estimate, Row, cost_plot, dot_plot
from kinetext.report.material import MINED, RULES


def about_comparison(
    at: Comparison,
    found: Measured,
    options: ReportOptions,
    differences: list[dict[str, Any]],
    costs: list[dict[str, Any]],
    described: list[str],
    figures: Path,
) -> dict[str, Any]:
    """All of one comparison. Rows are sorted by the first headline metric, best first.

    `differences` and `costs` are rows of those tables that belong to it; `described` are the tables of texts that hold
    motion descriptions.
    """
    headline = headline_of(found, options)
    first = found[headline[0], "ordered"]
    keys = sorted(first, key=lambda key: -first[key].value)
    apart = {(key_of(row), key_of(row, "than_")): difference(row) for row in differences}
    rules = [rule for rule in RULES if (f"pair_accuracy:{rule}", "ordered") in found]
    name, methods, called = file_name(at), method_names(keys), labels(keys)
    behind = corrected({key: d for key in keys[1:] if (d := apart.get((key, keys[0])))})
    motion = [headline[0], *(f"pair_accuracy:{rule}" for rule in rules[:1])]
    return {
        "at": at,
        "title": title(at),
        "order": keys,
        "headline": {metric: found[metric, "ordered"] for metric in headline},
        "compared_by": next((row["metric"] for row in differences), headline[0]),
        "retrieval": _retrieval(keys, found),
        "best": first[keys[0]],
        "behind": behind,
        "ties": [key for key, d in behind.items() if not d.told_apart],
        "rank": dot_plot(
            f"rank-{name}",
            [(called[k], [(methods[k], first[k])]) for k in keys],
            f"{headline[0]}, percent",
            figures,
            keys=sorted(set(methods.values())),
        ),
        "help": against_others(name, keys, apart, described, figures),
        "pairs": _pairs(name, keys, found, rules, figures),
        "motion": _motion(name, keys, found, motion, figures),
        **_cost(at, name, keys, first, costs, f"{headline[0]}, percent", figures),
    }


def _pairs(
    name: str,
    keys: list[Key],
    found: Measured,
    rules: list[str],
    figures: Path,
) -> list[dict[str, Any]]:
    """Accuracy inside confusable pairs, rule by rule; apart for each backbone where it was the backbone that was mined,
    since rows are then measured on different pairs.
    """
    backbones, methods, called = sorted({key.backbone for key in keys}), method_names(keys), labels(keys)
    shown = []
    for rule in rules:
        for own in [[b] for b in backbones] if rule in MINED else [backbones]:
            cells = {
                key: e
                for key in keys
                if key.backbone in own and (e := found[f"pair_accuracy:{rule}", "ordered"].get(key))
            }
            several = len(own) < len(backbones)
            if cells:
                rows: list[Row] = [(called[key], [(methods[key], e)]) for key, e in cells.items()]
                file = "-".join([f"pairs-{rule}-{name}", *(own if several else [])])
                colours = sorted(set(methods.values()))
                plot = dot_plot(file, rows, "pair_accuracy, percent", figures, (0.5, "chance"), colours)
                shown.append({"rule": rule, "backbone": own[0] if several else None, "cells": cells, "plot": plot})
    return shown


def headline_of(found: Measured, options: ReportOptions) -> list[str]:
    """The headline metrics of a comparison: those of classes, or those of captions. Raises ValueError for one that was
    not measured, for none, or if the first, which sorts the rows, is not a share where higher is better.
    """
    captioned = any(_of_captions(metric) for metric, _ in found)
    own = [metric for metric in options.headline if _of_captions(metric) == captioned]
    missing = [metric for metric in own or options.headline if (metric, "ordered") not in found]
    if missing:
        known = sorted({metric for metric, _ in found if ":" not in metric})
        raise ValueError(f"report.headline: no metric '{missing[0]}' was measured; known: {', '.join(known)}")
    first = next(iter(found[own[0], "ordered"].values()))
    if first.unit != "share" or not first.higher_is_better:
        raise ValueError(
            f"report.headline: {own[0]} cannot come first: rows are sorted by the first metric, which must be a share "
            f"where higher is better; put {'t2v_r1' if captioned else 'top1'} before it"
        )
    return own


def _retrieval(keys: list[Key], found: Measured) -> dict[str, Any] | None:
    """Every measure of retrieval for each row, and apart for each way to change scores."""
    ordered = {metric: cells for (metric, order), cells in found.items() if order == "ordered"}
    changes = sorted({metric.partition(":")[2] for metric in ordered if _of_captions(metric)})  # "" is first: unchanged
    measures = dict.fromkeys(metric[4:] for metric in ordered if _of_captions(metric) and ":" not in metric)
    directions = {
        words: [f"{way}_{measure}" for measure in measures]
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
    return {"directions": directions, "rows": rows} if rows else None


def _of_captions(metric: str) -> bool:
    return metric.startswith(("t2v_", "v2t_"))


def _motion(name: str, keys: list[Key], found: Measured, metrics: list[str], figures: Path) -> dict[str, Any]:
    """Accuracy by the order of the frames, metric by metric; nothing where only the true order was predicted."""
    shown, called = {}, labels(keys)
    for metric in metrics:
        orders = [order for order in FRAME_ORDERS if (metric, order) in found]
        if len(orders) > 1:
            cells = {key: {order: found[metric, order].get(key) for order in orders} for key in keys}
            rows: list[Row] = [(called[key], list(cells[key].items())) for key in keys]
            line = (0.5, "chance") if metric.startswith("pair_accuracy") else None
            plot = dot_plot(f"motion-{metric.replace(':', '-')}-{name}", rows, f"{metric}, percent", figures, line)
            shown[metric] = {"orders": orders, "cells": cells, "plot": plot}
    return shown


def _cost(
    at: Comparison,
    name: str,
    keys: list[Key],
    first: dict[Key, Estimate],
    costs: list[dict[str, Any]],
    axis: str,
    figures: Path,
) -> dict[str, Any]:
    """What each row costs: its runs' numbers, averaged over seeds, with their range. Shown with the test split only."""
    if at[2] != "test":
        return {"cost": {}, "cost_plot": ""}
    cost: dict[Key, dict[str, Any]] = {}
    for key in keys:
        own = [row for row in costs if key_of(row) == key]
        seconds, speed = ([r[c] for r in own if r[c] is not None] for c in ("train_seconds", "predict_clips_per_s"))
        parameters = {
            c: next((r[c] for r in own if r[c] is not None), None) for c in ("new_parameters", "trained_parameters")
        }
        where = sorted({f"{r['device']}, {r['threads']} threads" for r in own if r["device"]})
        cost[key] = {"seconds": seconds, "speed": speed, **parameters, "where": "; ".join(where)}
    methods = method_names(keys)
    points = [
        (methods[key], key.texts, sum(c["seconds"]) / max(1, len(c["seconds"])), first[key]) for key, c in cost.items()
    ]
    return {"cost": cost, "cost_plot": cost_plot(f"cost-{name}", points, axis, figures)}
