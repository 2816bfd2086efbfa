"""One run, completely specified: run.yaml."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from kinetext.config.data import FrameOptions, ProtocolOptions
from kinetext.config.training import TestingOptions, TrainingOptions
from kinetext.core.plugins import Options


class RunSpec(Options):
    """One run, completely specified: the content of run.yaml."""

    run: str = Field(description="{dataset}/{protocol}/{backbone}/{method}/{texts}/seed{n}")
    dataset: str
    protocol: str
    backbone: str
    method: str
    texts: str
    seed: int
    protocol_options: ProtocolOptions = ProtocolOptions()
    trained_on: str | None = Field(None, description="the run whose checkpoint is tested; null: the run's own")
    trained_fingerprint: str | None = Field(None, description="the fingerprint of that run")
    confusables: dict[str, Any] = Field(default_factory=dict, description="how rivals were mined")
    method_module: str
    method_options: dict[str, Any]
    training: TrainingOptions
    num_frames: int | None = Field(None, description="frames that the method looks at; null: all that are stored")
    testing: TestingOptions = TestingOptions()
    dataset_options: dict[str, Any] = Field(description="what made the clips and frames")
    backbone_options: dict[str, Any]
    text_options: dict[str, Any]
    fingerprint: str = ""

    @property
    def frame_options(self) -> FrameOptions:
        """Return how the frames of the data set were made."""
        return FrameOptions(**self.dataset_options.get("frames", {}))


def read_run(path: Path) -> RunSpec:
    """The run that a run.yaml specifies. Raises ValueError if there is no such file."""
    if not path.is_file():
        raise ValueError(f"{path.parent}: is no run folder, {path.name} is missing; make it with `kinetext plan-run`")
    return RunSpec(
        **yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    )  # C: 10 times faster
