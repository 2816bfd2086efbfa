"""The metrics of one run, each with an interval: `kinetext measure-run`.

The intervals are percentile bootstraps over clips (Efron 1979): draw as many clips as there are, with repeats, and
measure again. They say how far the number would move with other clips of the same kind, not with another seed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kinetext.config.report import MetricOptions
from kinetext.config.run import read_run
from kinetext.core.tables import code_commit, read_rows, write_table
from kinetext.evaluation import retrieval
from kinetext.evaluation.metrics import all_metrics
from kinetext.evaluation.metrics.base import Metric, Rivals
from kinetext.evaluation.metrics.top_k import TopK
from kinetext.evaluation.predictions import Predictions, read_predictions

PAIRS = 20  # confusable pairs per rule that are measured one by one


@dataclass(frozen=True)
class Measurement:
    """One row of the table `metrics`: a metric, the clips that it is measured on, and the rivals of their classes."""

    name: str
    metric: Metric
    sample: Predictions | retrieval.Ranks
    rivals: Rivals | None = None

    def row(self) -> dict[str, Any]:
        """Return the columns of the table that the metric fills."""
        low, high = bootstrap_interval(self.metric, self.sample, self.rivals)
        return {
            "metric": self.name,
            "value": self.metric.measure(self.sample, self.rivals),
            "low": low,
            "high": high,
            "clips": len(self.sample),
            "unit": self.metric.unit,
            "higher_is_better": self.metric.higher_is_better,
        }


def measure_run(
    run: Path, predictions: Path, confusables: Path, output: Path, added: Mapping[str, MetricOptions] | None = None
) -> None:
    """Measure every split and frame order of a run's predictions; write the table `metrics`.

    `added` are the metrics of the configuration, measured beside the built-in ones. A metric that needs rivals is
    measured once per rule of the table `confusables`, as "pair_accuracy:features"; with the frames in order also for the
    first pairs one by one, as "pair_accuracy:features:left/right". Captions have ranks instead (retrieval.py),
    transductive ones with the frames in order only.
    """
    spec = read_run(run / "run.yaml")
    about = {key: getattr(spec, key) for key in ("dataset", "protocol", "backbone", "method", "texts", "seed")}
    about |= {"fingerprint": spec.fingerprint, "commit": code_commit()}
    mined, metrics = read_rows("confusables", confusables), all_metrics(added)
    rows: list[dict[str, Any]] = []
    for (split, frame_order), sample in read_predictions(predictions).items():
        measurements = _of_captions if sample.captioned else _of_classes
        for measurement in measurements(metrics, sample, mined, frame_order == "ordered"):
            rows.append({**about, "split": split, "frame_order": frame_order, **measurement.row()})
    write_table("metrics", rows, output)


def bootstrap_interval(
    metric: Metric,
    sample: Predictions | retrieval.Ranks,
    rivals: Rivals | None = None,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a metric over clips, (low, high); NaN where there is nothing to count.

    The same seed draws the same clips for every metric and method. A metric that is a mean over clips is computed once
    per clip and only averaged again: the same numbers, some ten times sooner.
    """
    num_clips = len(sample)
    if not num_clips:
        return float("nan"), float("nan")
    random = np.random.default_rng(seed)
    rows_D = (random.integers(num_clips, size=num_clips) for _ in range(draws))
    value_B = metric.clip_values(sample, rivals)
    if value_B is not None:
        counted_B, value_B = ~np.isnan(value_B), np.nan_to_num(value_B)
        drawn = [(value_B[rows].sum(), counted_B[rows].sum()) for rows in rows_D]
        drawn_D = np.array([total / count if count else np.nan for total, count in drawn])
    else:
        drawn_D = np.array([metric.measure(sample.take(rows), rivals) for rows in rows_D])
    drawn_D = drawn_D[~np.isnan(drawn_D)]
    if not len(drawn_D):
        return float("nan"), float("nan")
    low, high = np.quantile(drawn_D, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def main_values(predictions: Predictions) -> dict[str, np.ndarray]:
    """The metrics that rows are compared by, clip by clip, the main one first: top1 of classes; of captions t2v_r1, a
    clip's share of its captions that find it, and v2t_r1. Name -> value_B.
    """
    if not predictions.captioned:
        return {"top1": TopK().clip_values(predictions)}
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


def _of_captions(
    metrics: Mapping[str, Metric], predictions: Predictions, mined: list[dict[str, Any]], ordered: bool
) -> Iterator[Measurement]:
    """Yield the measurements of retrieval."""
    for pattern, ranks in retrieval.rank_samples(predictions, transductive=ordered).items():
        for name, metric in metrics.items():
            if metric.task == "captions":
                yield Measurement(pattern.format(name), metric, ranks)


def _of_classes(
    metrics: Mapping[str, Metric], predictions: Predictions, mined: list[dict[str, Any]], ordered: bool
) -> Iterator[Measurement]:
    """Yield the measurements of recognition."""
    rules = sorted({row["rule"] for row in mined})
    for name, metric in metrics.items():
        if metric.task != "classes":
            continue
        if not metric.needs_rivals:
            yield Measurement(name, metric, predictions)
            continue
        for rule in rules:
            rivals = split_rivals(mined, rule, predictions.labels)
            if counted := _clips_of(predictions, list(rivals)):
                yield Measurement(f"{name}:{rule}", metric, counted, rivals)
    for rule in rules if ordered else []:
        for left, right in first_pairs(mined, rule, predictions.labels, PAIRS):
            if counted := _clips_of(predictions, [left, right]):
                rivals = {left: [right], right: [left]}
                yield Measurement(f"pair_accuracy:{rule}:{left}/{right}", metrics["pair_accuracy"], counted, rivals)


def _clips_of(predictions: Predictions, labels: list[str]) -> Predictions:
    """Only the clips of some classes, scored among all classes as before."""
    wanted = [predictions.labels.index(label) for label in labels]
    return predictions.take(np.flatnonzero(np.isin(predictions.target_B, wanted)))
