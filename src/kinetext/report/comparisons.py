"""All that the report says of one comparison: a data set, a protocol and a split, its rows sorted best first."""

from pathlib import Path
from typing import Any

from kinetext.config import ReportOptions
from kinetext.evaluation.retrieval import MEASURES, RANKED
from kinetext.report.descriptions import against_others
from kinetext.report.estimates import Comparison, Estimates, Key, difference, label, place, title
from kinetext.report.figures import Estimate, Row, cost_plot, dot_plot
from kinetext.report.material import MINED, RULES

VIEWS = ("ordered", "reversed", "shuffled", "repeated")


def about_comparison(
    at: Comparison,
    found: dict[tuple[str, str], dict[Key, Estimate]],
    options: ReportOptions,
    differences: list[dict[str, Any]],
    costs: list[dict[str, Any]],
    described: list[str],
    figures: Path,
) -> dict[str, Any]:
    """All of one data set, protocol and split. Rows are sorted by the first headline metric, best first.

    `described` are the tables of texts that hold motion descriptions.
    """
    headline = _headline(found, options)
    first = found[headline[0], "ordered"]
    keys = sorted(first, key=lambda key: -first[key].value)
    apart = {
        ((row["method"], row["texts"]), (row["than_method"], row["than_texts"])): difference(row)
        for row in differences
        if place(row) == at
    }
    rules = [rule for rule in RULES if (f"pair_accuracy:{rule}", "ordered") in found]
    name, methods = "-".join(at), sorted({method for method, _ in keys})
    behind = {key: apart.get((key, keys[0])) for key in keys}
    motion = [headline[0], *(f"pair_accuracy:{rule}" for rule in rules[:1])]
    # zero means not apart from the best by these clips; so does an interval that reaches it
    ties = [key for key in keys[1:] if (d := behind[key]) and d.high >= 0]
    return {
        "name": name,
        "title": title(at),
        "order": keys,
        "headline": {metric: found[metric, "ordered"] for metric in headline},
        "ranked": [metric for metric in headline if _is_rank(metric)],
        "compared_by": next((row["metric"] for row in differences if place(row) == at), headline[0]),
        "retrieval": _retrieval(keys, found),
        "best": first[keys[0]],
        "behind": behind,
        "ties": ties,
        "rank": dot_plot(
            f"rank-{name}",
            [(label(k), [(k[0], first[k])]) for k in keys],
            f"{headline[0]}, percent",
            figures,
            keys=methods,
        ),
        "help": against_others(name, keys, apart, described, figures),
        "pairs": _pairs(at, name, keys, found, rules, costs, figures),
        "motion": _motion(name, keys, found, motion, figures),
        **_cost(at, name, keys, first, costs, f"{headline[0]}, percent", figures),
    }


def _pairs(
    at: Comparison,
    name: str,
    keys: list[Key],
    found: dict[tuple[str, str], dict[Key, Estimate]],
    rules: list[str],
    costs: list[dict[str, Any]],
    figures: Path,
) -> list[dict[str, Any]]:
    """Accuracy inside confusable pairs, rule by rule; apart for each backbone where it was the backbone that was mined,
    since rows are then measured on different pairs.
    """
    of_key = {(r["method"], r["texts"]): r["backbone"] for r in costs if (r["dataset"], r["protocol"]) == at[:2]}
    backbones, methods = sorted({of_key[key] for key in keys}), sorted({method for method, _ in keys})
    shown = []
    for rule in rules:
        for own in [[b] for b in backbones] if rule in MINED else [backbones]:
            cells = {
                key: e
                for key in keys
                if of_key[key] in own and (e := found[f"pair_accuracy:{rule}", "ordered"].get(key))
            }
            several = len(own) < len(backbones)
            if cells:
                rows: list[Row] = [(label(key), [(key[0], e)]) for key, e in cells.items()]
                file = "-".join([f"pairs-{rule}-{name}", *(own if several else [])])
                plot = dot_plot(file, rows, "pair_accuracy, percent", figures, (0.5, "chance"), methods)
                shown.append({"rule": rule, "backbone": own[0] if several else None, "cells": cells, "plot": plot})
    return shown


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


def _motion(
    name: str, keys: list[Key], found: dict[tuple[str, str], dict[Key, Estimate]], metrics: list[str], figures: Path
) -> dict[str, Any]:
    """Accuracy by the order of the frames, metric by metric; nothing where only the true order was predicted."""
    shown = {}
    for metric in metrics:
        views = [view for view in VIEWS if (metric, view) in found]
        if len(views) > 1:
            cells = {key: {view: found[metric, view].get(key) for view in views} for key in keys}
            rows: list[Row] = [(label(key), list(cells[key].items())) for key in keys]
            line = (0.5, "chance") if metric.startswith("pair_accuracy") else None
            plot = dot_plot(f"motion-{metric.replace(':', '-')}-{name}", rows, f"{metric}, percent", figures, line)
            shown[metric] = {"views": views, "cells": cells, "plot": plot}
    return shown


def novel_classes(found: Estimates, options: ReportOptions, figures: Path) -> list[dict[str, Any]]:
    """Classes that were never trained on beside those that were, for each data set and protocol that has both."""
    shown = []
    for dataset, protocol, split in sorted(found):
        metric = _headline(found[dataset, protocol, split], options)[0]
        base = found.get((dataset, protocol, "test"), {}).get((metric, "ordered"), {})
        if split == "novel" and base:
            novel = found[dataset, protocol, split][metric, "ordered"]
            keys = sorted((key for key in base if key in novel), key=lambda key: -novel[key].value)
            rows: list[Row] = [(label(k), [("trained classes", base[k]), ("never seen", novel[k])]) for k in keys]
            plot = dot_plot(f"novel-{dataset}-{protocol}", rows, f"{metric}, percent", figures)
            title = f"{dataset}, {protocol}"
            shown.append({"title": title, "metric": metric, "order": keys, "base": base, "novel": novel, "plot": plot})
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
        own = [r for r in costs if (r["dataset"], r["protocol"], r["method"], r["texts"]) == (*at[:2], *key)]
        seconds, speed = ([r[c] for r in own if r[c] is not None] for c in ("train_seconds", "predict_clips_per_s"))
        parameters = {
            c: next((r[c] for r in own if r[c] is not None), None) for c in ("new_parameters", "trained_parameters")
        }
        where = sorted({f"{r['device']}, {r['threads']} threads" for r in own if r["device"]})
        cost[key] = {"seconds": seconds, "speed": speed, **parameters, "where": "; ".join(where), "seeds": len(own)}
    points = [(*key, sum(c["seconds"]) / max(1, len(c["seconds"])), first[key]) for key, c in cost.items()]
    return {"cost": cost, "cost_plot": cost_plot(f"cost-{name}", points, axis, figures)}
