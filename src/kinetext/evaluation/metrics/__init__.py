"""Built-in metrics, which measure every run, and metrics that a configuration adds. The interface is in base.py."""

from collections.abc import Mapping
from typing import Any

from kinetext.config.report import MetricOptions
from kinetext.core import plugins
from kinetext.evaluation.metrics.base import Metric

BUILT_IN: dict[str, tuple[str, dict[str, Any]]] = {  # name in the table `metrics` -> module and its options
    "mean_class_accuracy": ("mean_class_accuracy", {}),
    "pair_accuracy": ("pair_accuracy", {}),
    "head_accuracy": ("class_size_accuracy", {"group": "head"}),
    "middle_accuracy": ("class_size_accuracy", {"group": "middle"}),
    "tail_accuracy": ("class_size_accuracy", {"group": "tail"}),
    "ece": ("calibration_error", {}),
    "ece_calibrated": ("calibration_error", {"calibrated": True}),
    "aurc": ("risk_coverage", {}),
    "map": ("average_precision", {}),
    "lrap": ("ranking_precision", {}),
    "top1": ("top_k", {"k": 1}),
    "top5": ("top_k", {"k": 5}),
    "r1": ("recall", {"k": 1}),
    "r5": ("recall", {"k": 5}),
    "r10": ("recall", {"k": 10}),
    "mdr": ("median_rank", {}),
    "mnr": ("mean_rank", {}),
    "ties": ("ties", {}),
}


def build_metric(module: str, options: dict[str, Any]) -> Metric:
    """Return the metric that a module defines. Raises ValueError for an unknown module or option."""
    cls = plugins.load("metrics", module)
    return cls(plugins.configure(cls, options))


def all_metrics(added: Mapping[str, MetricOptions] | None = None) -> dict[str, Metric]:
    """Return all metrics by name: the built-in ones, then those that the configuration adds.

    Raises ValueError if a module or option is unknown, or if an added metric has the name of a built-in one. The message
    begins with the metric's name.
    """
    metrics = {name: build_metric(module, options) for name, (module, options) in BUILT_IN.items()}
    for name, metric in (added or {}).items():
        if name in metrics:
            raise ValueError(f"{name}: is a built-in metric, which is always measured; choose another name")
        try:
            metrics[name] = build_metric(metric.module or name, metric.options)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return metrics


def task_of(name: str) -> str:
    """Return the task of a metric by its name in the table `metrics`; "classes" for a metric that is not built in."""
    if name.startswith(("t2v_", "v2t_")):
        return "captions"
    module, _ = BUILT_IN.get(name.partition(":")[0], ("top_k", {}))
    return str(plugins.load("metrics", module).task)


def unit_of(name: str) -> str:
    """Return the unit of a built-in metric by its name in the table `metrics`, e.g. `t2v_mdr:dsl`; else "share"."""
    module, _ = BUILT_IN.get(name.partition(":")[0].removeprefix("t2v_").removeprefix("v2t_"), ("top_k", {}))
    return str(plugins.load("metrics", module).unit)
