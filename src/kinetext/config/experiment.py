"""Options of an experiment, which is a set of runs, and the whole of config.yaml."""

import os
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from kinetext.config.backbone import BackboneOptions
from kinetext.config.base import Name
from kinetext.config.data import PROTOCOL, DatasetOptions
from kinetext.config.method import MethodOptions
from kinetext.config.report import MetricOptions, ReportOptions, TrackingOptions
from kinetext.config.texts import ConfusablesOptions, TextOptions
from kinetext.config.tuning import TuningOptions
from kinetext.core.plugins import Options, nearest


def _as_list(value: Any) -> Any:
    """Return a single name as a list with one element, and any other value unchanged."""
    return [value] if isinstance(value, str) else value


class ExperimentOptions(Options):
    """A set of runs: all combinations of data set, backbone, method, text set and seed."""

    datasets: list[str] = Field(min_length=1, description="names of `datasets`")
    protocol: str = Field(
        "supervised",
        description="supervised | few_shot_K | base_to_novel | base_to_novel_K | zero_shot_from_DATASET (data/splits.py); "
        "_drawN after K: another draw of the training clips",
    )
    backbone: Annotated[list[str], BeforeValidator(_as_list, json_schema_input_type=str | list[str])] = Field(
        min_length=1, description="one name of `backbones`, or a list of them"
    )
    methods: list[str] = Field(min_length=1, description="names of `methods`")
    texts: list[str] = Field(min_length=1, description="names of `texts`")
    seeds: list[Annotated[int, Field(ge=0)]] = Field(default=[0], min_length=1, description="one training per seed")

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
            raise ValueError(f"duplicate seed in {seeds}")
        return seeds


class Config(Options):
    """All options of config.yaml."""

    results: str = Field("results", min_length=1, description="folder for all results, relative to the working folder")
    backbones: dict[Name, BackboneOptions] = Field(description="image-text models by name")
    datasets: dict[Name, DatasetOptions] = Field(description="data sets by name")
    confusables: ConfusablesOptions = Field(ConfusablesOptions(), description="how confusable classes are mined")
    texts: dict[Name, TextOptions] = Field(description="text sets by name")
    methods: dict[Name, MethodOptions] = Field(description="methods by name")
    experiments: dict[Name, ExperimentOptions] = Field(min_length=1, description="sets of runs by name")
    tuning: TuningOptions | None = Field(
        None, description="tuning of every method that has settings to tune, with an equal budget; absent: off"
    )
    metrics: dict[Name, MetricOptions] = Field(
        default_factory=dict, description="additional metrics by their names in the tables"
    )
    report: ReportOptions = Field(ReportOptions(), description="what report.html shows")
    tracking: TrackingOptions = Field(TrackingOptions(), description="logging to MLflow")

    @field_validator("results")
    @classmethod
    def _is_plain_path(cls, results: str) -> str:
        """Return the normalised path; refuse characters that Snakemake, a database address or a shell would misread.

        These are {} and <> (Snakemake), ? # % (addresses), unprintable characters, `-` or `~` at the beginning, and a
        space at either end. Raises ValueError.
        """
        odd = next((character for character in results if character in "{}<>?#%" or not character.isprintable()), None)
        if odd is not None:
            raise ValueError(f"{results!r} contains {odd!r}; choose a folder without it")
        if results[0] in "-~" or results != results.strip():
            raise ValueError(f"{results!r} begins with '-' or '~', or has a space at an end; write the whole path")
        return os.path.normpath(results)  # as Snakemake names its outputs, without ./ and a / at the end
