"""The specification of one run: run.yaml."""

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import Field

from kinetext.config.data import FrameOptions, ProtocolOptions
from kinetext.config.training import TestingOptions, TrainingOptions
from kinetext.core.documents import load_yaml
from kinetext.core.paths import suggest_run
from kinetext.core.plugins import Options


class RunSpec(Options):
    """The complete specification of one run: the content of run.yaml."""

    run: str = Field(description="{dataset}/{protocol}/{backbone}/{method}/{texts}/seed{n}")
    dataset: str
    protocol: str
    backbone: str
    method: str
    texts: str
    seed: int
    protocol_options: ProtocolOptions = ProtocolOptions()
    trained_on: str | None = Field(None, description="run whose checkpoint is tested; null: this run")
    trained_fingerprint: str | None = Field(None, description="fingerprint of that run")
    confusables: dict[str, Any] = Field(default_factory=dict, description="options of mining")
    method_module: str
    method_options: dict[str, Any]
    training: TrainingOptions
    num_frames: int | None = Field(None, description="frames that the method uses; null: all stored ones")
    testing: TestingOptions = TestingOptions()
    dataset_options: dict[str, Any] = Field(description="options of the data set, its clips and frames")
    backbone_options: dict[str, Any]
    text_options: dict[str, Any]
    fingerprint: str = ""

    @property
    def frame_options(self) -> FrameOptions:
        """Return the options of the data set's frames."""
        return FrameOptions(**self.dataset_options.get("frames", {}))


def fingerprint_of(values: dict[str, Any]) -> str:
    """Return the fingerprint of a run from the values of its run.yaml: a hash of everything else in it."""
    canonical = json.dumps({key: value for key, value in values.items() if key != "fingerprint"}, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def read_run(path: Path) -> RunSpec:
    """Read a run.yaml. Raises ValueError, with the nearest run folder, if it is missing or invalid."""
    if not path.is_file():
        hint = suggest_run(path.parent) or "run `snakemake` first"
        raise ValueError(f"{path.parent}: not a run folder, {path.name} is missing; {hint}")
    return RunSpec(**load_yaml(path))
