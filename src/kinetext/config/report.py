"""Options of metrics, the report and experiment tracking."""

from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from kinetext.core.plugins import Options


class MetricOptions(Options):
    """A metric that is computed in addition to the built-in ones."""

    module: str | None = Field(
        None, description="module of evaluation/metrics, a dotted path or a Python file; absent: the metric's own name"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="options of the module")


class Published(Options):
    """A value that a paper reports, shown next to the measured value."""

    metric: str = Field(
        description="name of the metric in the tables; harmonic_mean or harmonic_mean_among_all of top-1 (base_to_novel)"
    )
    value: float = Field(description="value in the metric's unit: a share from 0 to 1, or a rank")
    source: str = Field(description="paper and table")
    dataset: str = Field(description="name of `datasets`")
    protocol: str = Field("supervised", description="protocol of the experiment")
    split: Literal["test", "novel", "test_among_all", "novel_among_all", "unseen"] = Field(
        "test", description="clips that were scored, and among which classes; no effect on a harmonic mean"
    )
    backbone: str | None = Field(None, description="needed if several backbones ran this method on this data set")
    method: str = Field(description="name of `methods`")
    texts: str = Field(description="name of `texts`")


CostColumn = Literal[
    "train_seconds",
    "gflops_per_clip",
    "trained_parameters",
    "new_parameters",
    "train_peak_mib",
    "predict_peak_mib",
    "predict_clips_per_s",
    "requests_per_clip",
    "prompt_tokens_per_clip",
    "answer_tokens_per_clip",
    "usd_per_clip",
]


class ReportOptions(Options):
    """The contents of report.html."""

    title: str = Field("kinetext", description="title of the page")
    headline: list[str] = Field(
        default=["top1", "mean_class_accuracy", "map", "lrap", "t2v_r1", "v2t_r1"],
        min_length=1,
        description="metrics of the first table; a data set shows those of its task: classes, several labels or captions",
    )
    cost: list[CostColumn] = Field(
        default=["train_seconds", "gflops_per_clip"],
        description="columns of the table `costs` that accuracy is plotted over, one figure for each",
    )
    examples: int = Field(4, ge=0, description="confusable pairs with example frames, per protocol and backbone")
    descriptions: list[str] = Field(
        default=[],
        description="text sets compared with names alone; absent: those of kind motion that are not controls",
    )
    reference: list[Published] = Field(
        default=[], description="numbers that papers report, shown next to the measured ones"
    )


class TrackingOptions(Options):
    """Logging of runs to MLflow. The environment variable MLFLOW_TRACKING_URI takes precedence over `uri`."""

    enabled: bool = Field(True, description="whether runs are logged")
    uri: str | None = Field(
        None,
        description="http://HOST:PORT of an MLflow server, or postgresql://USER@HOST/DATABASE (docs/tracking.md); absent: SQLite "
        "in the results folder, for one machine",
    )
    models: Literal["none", "trained", "whole"] = Field(
        "trained",
        description="what is logged for mlflow.pyfunc.load_model. trained: the trained weights and the text set, and the backbone is "
        "read from the results folder or downloaded again; whole: with the backbone",
    )
    max_model_mib: int = Field(200, ge=0, description="largest model that is logged, MiB")
    live: Literal["auto", "on", "off"] = Field(
        "auto",
        description="send curves during the training, if the server answers; auto: unless the store is a SQLite file",
    )

    @field_validator("uri")
    @classmethod
    def _has_no_secret(cls, uri: str | None) -> str | None:
        """Refuse a password, because options are visible in the process list, Snakemake's metadata and logs."""
        try:
            parts = urlsplit(uri or "")
        except ValueError as error:
            raise ValueError("is not a valid URI") from error
        if parts.password is not None or parts.query or (parts.scheme in ("http", "https") and "@" in parts.netloc):
            raise ValueError("must not hold a password or a query; set MLFLOW_TRACKING_URI in the environment instead")
        return uri
