"""The specification of one run: run.yaml."""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from kinetext.config.data import FrameOptions, ProtocolOptions
from kinetext.config.method import TestingOptions, apply_setting
from kinetext.config.training import TrainingOptions
from kinetext.core.documents import load_yaml
from kinetext.core.paths import suggest_run
from kinetext.core.plugins import Options


class Rung(Options):
    """A round of tuning: the number of trials, and the number of epochs that each of them trains for."""

    trials: int
    epochs: int


class TuningRecord(Options):
    """How the setting of a run is chosen: the plan of the tuning, then the chosen setting and where it comes from."""

    trials: int = Field(description="settings that are tried")
    seed: int = Field(description="seed of the design")
    space: dict[str, dict[str, Any]] = Field(description="option -> its range")
    rungs: list[Rung] = Field(description="one without successive halving")
    trial: int | None = Field(None, description="the trial that was chosen; 0 is the configured setting")
    setting: dict[str, Any] = Field(default_factory=dict, description="option -> the value that was chosen")
    metric: str | None = Field(None, description="metric of the validation clips that judged")
    score: float | None = Field(None, description="its value in the chosen trial; as the best of all, it is optimistic")
    configured_score: float | None = Field(
        None, description="its value with the configured setting; null: not in the last rung"
    )
    clips: int | None = Field(None, description="validation clips")
    file: str | None = Field(None, description="table of all trials, relative to the results folder")
    planned: str | None = Field(None, description="fingerprint of the run with the configured setting")


class ViewOptions(Options):
    """Which stored frames of a test clip are scored: the frames of each view, and the views."""

    num_frames: int | None = Field(None, description="frames per temporal clip; null: all stored ones")
    sampling: Literal["uniform", "segment", "dense"] = Field("uniform", description="as in the training")
    stride: int = Field(1, ge=1, description="as in the training")
    testing: TestingOptions = TestingOptions()


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
    backbone_options: dict[str, Any] = Field(description="options of the backbone; empty: the method reads frames")
    text_options: dict[str, Any]
    tuning: TuningRecord | None = Field(None, description="how the setting was chosen; null: it is the configured one")
    fingerprint: str = ""

    @property
    def group(self) -> str:
        """Return the name of the run without its seed."""
        return self.run.rpartition("/")[0]

    @property
    def frame_options(self) -> FrameOptions:
        """Return the options of the stored frames of the data set."""
        return FrameOptions(**self.dataset_options.get("frames", {}))

    @property
    def view_options(self) -> ViewOptions:
        """Return the options of the views of test clips."""
        training = self.training
        return ViewOptions(
            num_frames=self.num_frames, sampling=training.sampling, stride=training.stride, testing=self.testing
        )

    def with_fingerprint(self) -> "RunSpec":
        """Return a copy of the run with its fingerprint, a hash of everything that defines the run."""
        return self.model_copy(update={"fingerprint": fingerprint_of(self.model_dump(mode="json"))})

    def with_setting(self, setting: dict[str, Any]) -> "RunSpec":
        """Return a copy of the run with the values of `setting` (see `apply_setting`) and a new fingerprint."""
        training, options = apply_setting(self.training, self.method_options, setting)
        return self.model_copy(update={"training": training, "method_options": options}).with_fingerprint()


def fingerprint_of(values: dict[str, Any]) -> str:
    """Return the fingerprint of a run, a hash of all values of its run.yaml except the fingerprint."""
    canonical = json.dumps({key: value for key, value in values.items() if key != "fingerprint"}, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def read_run(path: Path) -> RunSpec:
    """Read a run.yaml.

    Raises ValueError if the file is missing, with the most similar run folder, or if it is invalid.
    """
    if not path.is_file():
        hint = suggest_run(path.parent) or "run `snakemake` first"
        raise ValueError(f"{path.parent}: not a run folder, {path.name} is missing; {hint}")
    return RunSpec(**load_yaml(path))
