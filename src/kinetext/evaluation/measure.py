"""The metrics of one run, each with an interval: `kinetext measure-run`.

The intervals are percentile bootstraps over clips (Efron 1979): draw as many clips as there are, with repeats, and
measure again. They say how far the number would move with other clips of the same kind, not with another seed.
"""

import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kinetext.config.run import read_run
from kinetext.core.tables import code_commit, read_rows, write_table
from kinetext.evaluation import metrics, retrieval
from kinetext.evaluation.predictions import Predictions, read_predictions

Metric = Callable[[Any], float]  # of Predictions, or of retrieval.Ranks
Rivals = dict[str, list[str]]  # label -> the labels that it is taken for, the likeliest first
PAIRS = 20  # confusable pairs per rule that are measured one by one


def measure_run(run: Path, predictions: Path, confusables: Path, output: Path) -> None:
    """Measure every split and view of a run's predictions; write the table `metrics`.

    A metric of confusable classes is measured once per rule of the table `confusables`, as "pair_accuracy:features";
    under the ordered view also for the first pairs one by one, as "pair_accuracy:features:left/right". Captions have
    ranks instead (retrieval.py), transductive ones under the ordered view only.
    """
    spec = read_run(run / "run.yaml")
    about = {key: getattr(spec, key) for key in ("dataset", "protocol", "method", "texts", "backbone", "seed")}
    about |= {"fingerprint": spec.fingerprint, "commit": code_commit()}
    mined = read_rows("confusables", confusables)
    rows: list[dict[str, Any]] = []
    for (split, view), made in read_predictions(predictions).items():
        ordered = view == "ordered"
        todo = (
            retrieval.measurements(made, transductive=ordered)
            if made.captioned
            else _measurements(made, mined, ordered)
        )
        for name, metric, clips in todo:
            low, high = bootstrap_interval(metric, clips)
            found = {"metric": name, "value": metric(clips), "low": low, "high": high, "clips": len(clips)}
            rows.append({**about, "split": split, "view": view, **found})
    write_table("metrics", rows, output)


def all_metrics() -> dict[str, Callable[..., float]]:
    """Every public function of metrics.py, by name."""
    functions = inspect.getmembers(metrics, inspect.isfunction)
    return {name: f for name, f in functions if f.__module__ == metrics.__name__ and not name.startswith("_")}


def needs_rivals(metric: Callable[..., float]) -> bool:
    """Whether the metric is about confusable classes: its signature asks for `rivals`."""
    return "rivals" in inspect.signature(metric).parameters


def bootstrap_interval(
    metric: Metric, predictions: Predictions | retrieval.Ranks, draws: int = 1000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of a metric over clips, (low, high); NaN where there is nothing to count.

    The same seed draws the same clips for every metric and method. A metric that is a mean over clips is worked out
    once per clip and only averaged anew: the same numbers, some ten times sooner.
    """
    num_clips = len(predictions)
    if not num_clips:
        return float("nan"), float("nan")
    random = np.random.default_rng(seed)
    rows_D = (random.integers(num_clips, size=num_clips) for _ in range(draws))
    value_B = clip_values(metric, predictions)
    if value_B is not None:
        counted_B, value_B = ~np.isnan(value_B), np.nan_to_num(value_B)
        drawn = [(value_B[rows].sum(), counted_B[rows].sum()) for rows in rows_D]
        drawn_D = np.array([total / count if count else np.nan for total, count in drawn])
    else:
        drawn_D = np.array([metric(predictions.take(rows)) for rows in rows_D])
    drawn_D = drawn_D[~np.isnan(drawn_D)]
    if not len(drawn_D):
        return float("nan"), float("nan")
    low, high = np.quantile(drawn_D, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def clip_values(metric: Metric, predictions: Predictions | retrieval.Ranks) -> np.ndarray | None:
    """The metric on each clip alone, value_B, NaN for a clip that it leaves out; None of a metric that is no mean over
    clips.
    """
    values_B = getattr(getattr(metric, "func", metric), "values_B", None)  # .func: partial(pair_accuracy, rivals=...)
    return None if values_B is None else values_B(predictions, **getattr(metric, "keywords", {}))


def main_values(predictions: Predictions) -> dict[str, np.ndarray]:
    """The metrics that rows are compared by, clip by clip, the main one first: top1 of classes; of captions t2v_r1, a
    clip's share of its captions that find it, and v2t_r1. Name -> value_B.
    """
    if not predictions.captioned:
        return {"top1": metrics.top1.values_B(predictions)}  # type: ignore[attr-defined]
    ranks = retrieval.rank_queries(predictions.scores_BK, retrieval.owners(predictions))
    return {f"{way}_r1": retrieval.found_first(ranks[way]) for way in ("t2v", "v2t")}


def split_rivals(mined: list[dict[str, Any]], rule: str, labels: list[str]) -> Rivals:
    """Each label's rivals under a rule, the likeliest first; only labels of the split, for only those are scored."""
    among = set(labels)
    rivals: Rivals = {}
    for row in sorted((row for row in mined if row["rule"] == rule), key=lambda row: row["rank"]):
        if row["label"] in among and row["rival"] in among and row["label"] != row["rival"]:
            rivals.setdefault(row["label"], []).append(row["rival"])
    return rivals


def first_pairs(mined: list[dict[str, Any]], rule: str, labels: list[str], limit: int) -> list[tuple[str, str]]:
    """The pairs of a label and its first rival, each pair once, the most easily confused first."""
    rivals = split_rivals(mined, rule, labels)
    score = {(row["label"], row["rival"]): row["score"] or 0.0 for row in mined if row["rule"] == rule}
    pairs = sorted(((a, others[0]) for a, others in rivals.items()), key=lambda pair: (-score[pair], pair))
    once: dict[frozenset[str], tuple[str, str]] = {}
    for pair in pairs:
        once.setdefault(frozenset(pair), pair)
    return list(once.values())[:limit]


def _measurements(predictions: Predictions, mined: list[dict[str, Any]], pairs: bool) -> list[tuple[str, Metric, Any]]:
    """What to measure: name, metric, and the clips that it is over."""
    found: list[tuple[str, Metric, Any]] = []
    rules = sorted({row["rule"] for row in mined})
    for name, metric in all_metrics().items():
        if not needs_rivals(metric):
            found.append((name, metric, predictions))
            continue
        for rule in rules:
            rivals = split_rivals(mined, rule, predictions.labels)
            counted = _clips_of(predictions, list(rivals))
            if len(counted.target_B):
                found.append((f"{name}:{rule}", partial(metric, rivals=rivals), counted))
    for rule in rules if pairs else []:
        for pair in first_pairs(mined, rule, predictions.labels, PAIRS):
            counted = _clips_of(predictions, list(pair))
            if len(counted.target_B):
                metric = partial(metrics.pair_accuracy, rivals={pair[0]: [pair[1]], pair[1]: [pair[0]]})
                found.append((f"pair_accuracy:{rule}:{pair[0]}/{pair[1]}", metric, counted))
    return found


def _clips_of(predictions: Predictions, labels: list[str]) -> Predictions:
    """Only the clips of some classes, scored among all classes as before."""
    wanted = [predictions.labels.index(label) for label in labels]
    return predictions.take(np.flatnonzero(np.isin(predictions.target_B, wanted)))
