"""Metrics, the report and experiment tracking, as config.yaml describes them."""

from typing import Any, Literal

from pydantic import Field

from kinetext.core.plugins import Options


class MetricOptions(Options):
    """A metric that is measured beside the built-in ones."""

    module: str | None = Field(
        None, description="module of evaluation/metrics, a dotted path or a Python file; absent: the metric's own name"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="the module's Config")


class Published(Options):
    """A number that a paper reports, to stand beside ours."""

    metric: str = Field(description="our name of the metric")
    value: float = Field(description="in the metric's unit: a share from 0 to 1, or a rank")
    source: str = Field(description="paper and table")
    dataset: str
    protocol: str = "supervised"
    backbone: str | None = Field(None, description="needed if several backbones ran this method on this data set")
    method: str
    texts: str


class ReportOptions(Options):
    """What report.html shows first."""

    title: str = "kinetext"
    headline: list[str] = Field(
        default=["top1", "mean_class_accuracy", "t2v_r1", "v2t_r1"],
        min_length=1,
        description="metrics of the first table; of each data set those that it has, classes and captions having others",
    )
    examples: int = Field(
        4, ge=0, description="confusable pairs shown with example frames, of each protocol and backbone"
    )
    descriptions: list[str] = Field(
        default=[],
        description="texts whose help is asked for, by their names; absent: those of kind motion that are no control",
    )
    reference: list[Published] = Field(default=[], description="what papers report, shown beside ours")


class TrackingOptions(Options):
    """MLflow. MLFLOW_TRACKING_URI in the environment goes before `uri`."""

    enabled: bool = True
    uri: str | None = Field(
        None,
        description="absent: sqlite in the results folder (one machine); http://HOST:PORT of an mlflow server, or "
        "postgresql://USER@HOST/DATABASE (docs/tracking.md)",
    )
    models: Literal["none", "trained", "whole"] = Field(
        "trained",
        description="what is logged for mlflow.pyfunc.load_model: trained, what a run trained and its texts, the backbone "
        "being read from the results folder or fetched again; whole, with the backbone",
    )
    max_model_mib: int = Field(200, ge=0, description="MiB over which a model is not logged")
    live: Literal["auto", "on", "off"] = Field(
        "auto", description="curves while training, best effort; auto: where the store is no sqlite file"
    )
