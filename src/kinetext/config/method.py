"""A method in a configuration: its module and options, its training, and the views of its test clips."""

import copy
from typing import Any, Literal

from pydantic import Field

from kinetext.config.training import TrainingOptions
from kinetext.config.tuning import TuningOptions
from kinetext.core.plugins import Options


class TestingOptions(Options):
    """The views of a test clip. The scores of a clip are averaged over its views."""

    __test__ = False  # pytest takes classes named Test... for tests

    clips: int = Field(1, ge=1, le=32, description="temporal clips: selections of num_frames from the stored frames")
    crops: Literal[1, 3] = Field(
        1,
        description="spatial crops; 3: left, centre and right (or top, centre and bottom), which need whole stored frames",
    )
    average: Literal["logits", "probabilities"] = Field(
        "logits",
        description="what is averaged over views; with probabilities, scores are the logarithms of the averages",
    )

    @property
    def views(self) -> int:
        """Return the number of views per clip."""
        return self.clips * self.crops


class MethodOptions(Options):
    """A method: its module, the options of the module, its training and its testing."""

    module: str | None = Field(None, description="module of methods; absent: the method's own name")
    options: dict[str, Any] = Field(default_factory=dict, description="options of the module")
    training: TrainingOptions = Field(TrainingOptions(), description="how the method is trained")
    num_frames: int | None = Field(
        None,
        ge=1,
        description="frames per clip that the method uses, chosen from the stored ones by training.sampling; absent: all",
    )
    testing: TestingOptions = Field(TestingOptions(), description="the views of a test clip")
    tuning: TuningOptions | None = Field(
        None, description="tuning of this method; its keys take precedence over those of `tuning` at the top level"
    )

    def with_setting(self, setting: dict[str, Any]) -> "MethodOptions":
        """Return the options with the values of `setting` (see `apply_setting`).

        Raises pydantic's ValidationError for a value of the training that is not allowed.
        """
        training, options = apply_setting(self.training, self.options, setting)
        return self.model_copy(update={"training": training, "options": options})


def apply_setting(
    training: TrainingOptions, options: dict[str, Any], setting: dict[str, Any]
) -> tuple[TrainingOptions, dict[str, Any]]:
    """Return the options of training and the options of a method, in this order, with the values of `setting`.

    `setting` maps names to values. The names are training.NAME or options.NAME; further dots lead to nested options.
    Raises pydantic's ValidationError for a value of the training that is not allowed.
    """
    parts = {"training": training.model_dump(mode="json"), "options": copy.deepcopy(options)}
    for name, value in setting.items():
        *path, last = name.split(".")
        section: dict[str, Any] = parts
        for key in path:
            section = section.setdefault(key, {})
        section[last] = value
    return TrainingOptions(**parts["training"]), parts["options"]
