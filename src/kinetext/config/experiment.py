"""An experiment (a set of runs), and the whole of config.yaml."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from kinetext.config.backbone import BackboneOptions
from kinetext.config.base import Name
from kinetext.config.data import PROTOCOL, DatasetOptions
from kinetext.config.report import MetricOptions, ReportOptions, TrackingOptions
from kinetext.config.texts import ConfusablesOptions, TextOptions
from kinetext.config.training import MethodOptions
from kinetext.core.plugins import Options, nearest


def _as_list(value: Any) -> Any:
    """One name stands for a list of one."""
    return [value] if isinstance(value, str) else value


class ExperimentOptions(Options):
    """Runs: every data set x backbone x method x texts x seed of the lists."""

    datasets: list[str] = Field(min_length=1)
    protocol: str = Field(
        "supervised",
        description="supervised | few_shot_K | base_to_novel | base_to_novel_K | zero_shot_from_DATASET (data/splits.py); "
        "_drawN after K: another draw of clips",
    )
    backbone: Annotated[list[str], BeforeValidator(_as_list, json_schema_input_type=str | list[str])] = Field(
        min_length=1, description="one name of `backbones`, or a list of them"
    )
    methods: list[str] = Field(min_length=1)
    texts: list[str] = Field(min_length=1)
    seeds: list[Annotated[int, Field(ge=0)]] = Field(default=[0], min_length=1)

    @field_validator("protocol")
    @classmethod
    def _known(cls, protocol: str) -> str:
        if not PROTOCOL.fullmatch(protocol):
            known = ["supervised", "few_shot_4", "base_to_novel", "base_to_novel_16", "zero_shot_from_DATASET"]
            raise ValueError(f"no protocol '{protocol}'{nearest(protocol, known)}")
        return protocol

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"a seed stands twice in {seeds}")
        return seeds


class Config(Options):
    """The whole of config.yaml."""

    results: str = Field("results", description="folder that everything is written to")
    backbones: dict[Name, BackboneOptions]
    datasets: dict[Name, DatasetOptions]
    confusables: ConfusablesOptions = ConfusablesOptions()
    texts: dict[Name, TextOptions]
    methods: dict[Name, MethodOptions]
    experiments: dict[Name, ExperimentOptions] = Field(min_length=1)
    metrics: dict[Name, MetricOptions] = Field(
        default_factory=dict, description="metrics measured beside the built-in ones, by their names in the tables"
    )
    report: ReportOptions = ReportOptions()
    tracking: TrackingOptions = TrackingOptions()
