"""Measure the predictions of one run: `kinetext measure-run`. Each metric gets an interval over groups of clips."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from kinetext.config.report import MetricOptions
from kinetext.config.run import read_run
from kinetext.core.paths import LEVELS
from kinetext.core.tables import code_commit, read_rows, write_table
from kinetext.evaluation import seen_unseen
from kinetext.evaluation.intervals import mean_variance, metric_interval, share_interval
from kinetext.evaluation.kinds import clips_by_kind, kind_values, metric_name
from kinetext.evaluation.metrics import all_metrics
from kinetext.evaluation.metrics.base import Metric, Rivals
from kinetext.evaluation.overlap import shared_correlation
from kinetext.evaluation.predictions import Predictions, read_predictions
from kinetext.evaluation.retrieval import caption_clips, rank_queries, rank_samples
from kinetext.evaluation.rivals import split_rivals, top_pairs
from kinetext.evaluation.seen_unseen import BASE

NUM_PAIRS = 20  # confusable pairs per rule that are measured one by one


@dataclass(frozen=True)
class Measurement:
    """One row of the table `metrics`: a metric, the clips that it is measured on, and the rivals of their classes."""

    name: str
    metric: Metric
    sample: Any  # Predictions, Ranks, or what the metric prepares from predictions
    rivals: Rivals | None = None
    group_B: np.ndarray | None = None  # number of each clip's group; None: each clip is its own

    def row(self) -> dict[str, Any]:
        """Return the columns of the table `metrics` that the metric fills."""
        interval = metric_interval(self.metric, self.sample, self.rivals, self.group_B)
        return {
            "metric": self.name,
            "value": self.metric.measure(self.sample, self.rivals),
            **interval._asdict(),
            "clips": len(self.sample),
            "unit": self.metric.unit,
            "higher_is_better": self.metric.higher_is_better,
            "chance": self.metric.chance(self.sample) if len(self.sample) else None,
        }


def measure_run(
    run: Path, predictions: Path, confusables: Path, output: Path, added: Mapping[str, MetricOptions] | None = None
) -> None:
    """Measure every split and frame order of a run's predictions; write the table `metrics`.

    `added` are the metrics that the configuration adds to the built-in ones. A metric that needs rivals is measured
    once per rule of the table `confusables`, as "pair_accuracy:features". With the frames in order, accuracy is also
    measured within each of the NUM_PAIRS most confusable pairs of a rule, as "pair_accuracy:features:left/right", and
    for each kind of motion (kinds.py). Captions are measured by ranks (retrieval.py). Ranks from transductive scores
    are measured with the frames in order only.
    """
    spec = read_run(run / "run.yaml")
    run_columns = {key: getattr(spec, key) for key in LEVELS}
    run_columns |= {"fingerprint": spec.fingerprint, "commit": code_commit()}
    confusable_rows, metrics = read_rows("confusables", confusables), all_metrics(added)
    rows: list[dict[str, Any]] = []
    predicted = read_predictions(predictions)
    for frame_order, seen, unseen, novel in seen_unseen.both_splits(predicted):
        columns = {"split": seen_unseen.UNSEEN, "frame_order": frame_order, "metric": "ausuc"}
        rows.append({**run_columns, **columns, **_ausuc(seen, unseen, novel)})
    for (split, frame_order), sample in predicted.items():
        measurements = _caption_measurements if sample.captioned else _class_measurements
        if sample.multi_label:
            measurements = _label_measurements
        correlations = base_correlations(sample, predicted.get((BASE.get(split, ""), frame_order)))
        for measurement in measurements(metrics, sample, confusable_rows, frame_order == "ordered"):
            row = {**run_columns, "split": split, "frame_order": frame_order, **measurement.row()}
            rows.append({**row, "base_correlation": correlations.get(measurement.name)})
    write_table("metrics", rows, output)


def _ausuc(seen: Predictions, unseen: Predictions, novel: set[str]) -> dict[str, Any]:
    """Return the columns of the table `metrics` for the area below the seen-unseen curve (AUSUC).

    A group that has clips of both splits counts once.
    """
    value_B = np.concatenate(seen_unseen.pseudo_values(seen_unseen.limits(seen, unseen, novel)))
    known = seen.group_B is not None and unseen.group_B is not None
    group_B = np.concatenate([seen.group_B, unseen.group_B]) if known else np.arange(len(value_B))
    group_B = np.unique(group_B, return_inverse=True)[1]
    value, (variance, freedom), groups = float(value_B.mean()), mean_variance(value_B, group_B), int(group_B.max()) + 1
    low, high = share_interval(value, variance, freedom, groups)
    numbers = {"value": value, "low": low, "high": high, "variance": variance, "freedom": freedom, "groups": groups}
    return {**numbers, "clips": len(value_B), "unit": "share", "higher_is_better": True}


def base_correlations(novel: Predictions, base: Predictions | None) -> dict[str, float]:
    """Return, by metric, the correlation of the values on novel and on base clips that is due to groups with both.

    Empty if `base` is None or no groups are known.
    """
    if base is None or base.group_B is None or novel.group_B is None:
        return {}
    values, base_values = pseudo_values(novel), pseudo_values(base)
    return {
        name: shared_correlation(base_values[name], base.group_B, values[name], novel.group_B)
        for name in values.keys() & base_values.keys()
    }


def pseudo_values(predictions: Predictions, confusables: Sequence[dict[str, Any]] = ()) -> dict[str, np.ndarray]:
    """Return pseudo-values [B] of the built-in metrics that have them, by name as in the table `metrics`.

    The mean of the pseudo-values is the metric. A clip that is left out has NaN (see Metric.pseudo_values).
    `confusables` are rows of the table `confusables`. Ranks of captions are computed from unchanged scores.
    """
    metrics, values = _built_in_metrics(), {}
    task = "labels" if predictions.multi_label else "classes"
    if predictions.captioned:
        for direction, ranks in rank_queries(predictions.scores_BK, caption_clips(predictions)).items():
            for name, metric in metrics.items():
                if metric.task == "captions":
                    values[f"{direction}_{name}"] = metric.pseudo_values(ranks)
    else:
        rules = sorted({row["rule"] for row in confusables})
        for name, metric in metrics.items():
            if metric.task == task and not metric.needs_rivals:
                values[name] = metric.pseudo_values(predictions)
            elif metric.task == task:
                for rule in rules:
                    rivals = split_rivals(list(confusables), rule, predictions.labels)
                    values[f"{name}:{rule}"] = metric.pseudo_values(predictions, rivals)
        if task == "classes":
            values |= kind_values(predictions, values)
    return {name: value_B for name, value_B in values.items() if value_B is not None}


@cache
def _built_in_metrics() -> dict[str, Metric]:
    """Return the built-in metrics, loaded once for all runs."""
    return all_metrics()


def is_tested(metric: str) -> bool:
    """Return whether runs are compared by a metric: accuracy (also within confusable pairs), R@1, LRAP or AUSUC."""
    return metric in ("top1", "lrap", "t2v_r1", "v2t_r1", "ausuc") or metric.startswith("pair_accuracy:")


def _caption_measurements(
    metrics: Mapping[str, Metric], predictions: Predictions, confusables: list[dict[str, Any]], ordered: bool
) -> Iterator[Measurement]:
    """Yield the measurements of text-video retrieval."""
    for pattern, ranks in rank_samples(predictions, transductive=ordered).items():
        for name, metric in metrics.items():
            if metric.task == "captions":
                yield Measurement(pattern.format(name), metric, ranks, group_B=predictions.group_B)


def _label_measurements(
    metrics: Mapping[str, Metric], predictions: Predictions, confusables: list[dict[str, Any]], ordered: bool
) -> Iterator[Measurement]:
    """Yield the measurements of clips with several labels each. Rivals are not defined for such clips."""
    for name, metric in metrics.items():
        if metric.task != "labels" or (metric.ordered_only and not ordered):
            continue
        if (sample := metric.prepare(predictions)) is not None:
            yield Measurement(name, metric, sample, group_B=sample.group_B)


def _class_measurements(
    metrics: Mapping[str, Metric], predictions: Predictions, confusables: list[dict[str, Any]], ordered: bool
) -> Iterator[Measurement]:
    """Yield the measurements of recognition, in which each clip has one class."""
    rules = sorted({row["rule"] for row in confusables})
    for name, metric in metrics.items():
        if metric.task != "classes" or (metric.ordered_only and not ordered):
            continue
        if not metric.needs_rivals:
            if (sample := metric.prepare(predictions)) is not None:
                yield Measurement(name, metric, sample, group_B=sample.group_B)
            continue
        for rule in rules:
            rivals = split_rivals(confusables, rule, predictions.labels)
            if sample := _clips_of(predictions, list(rivals)):
                yield Measurement(f"{name}:{rule}", metric, sample, rivals, sample.group_B)
    for rule in rules if ordered else []:
        for left, right in top_pairs(confusables, rule, predictions.labels, NUM_PAIRS):
            if sample := _clips_of(predictions, [left, right]):
                rivals = {left: [right], right: [left]}
                name = f"pair_accuracy:{rule}:{left}/{right}"
                yield Measurement(name, metrics["pair_accuracy"], sample, rivals, sample.group_B)
    for kind, rows in clips_by_kind(predictions).items() if ordered else []:
        of_kind = predictions.take(rows)
        yield Measurement(metric_name(kind), metrics["top1"], of_kind, group_B=of_kind.group_B)
        for rule in rules:
            rivals = split_rivals(confusables, rule, predictions.labels)
            if sample := _clips_of(of_kind, list(rivals)):
                yield Measurement(metric_name(kind, rule), metrics["pair_accuracy"], sample, rivals, sample.group_B)


def _clips_of(predictions: Predictions, labels: list[str]) -> Predictions:
    """Return the clips of some classes, with their scores for all classes."""
    classes = [predictions.labels.index(label) for label in labels]
    return predictions.take(np.flatnonzero(np.isin(predictions.target_B, classes)))
