"""Text sets, and how confusable classes are found, as config.yaml describes them."""

from typing import Any, Literal

from pydantic import Field, model_validator

from kinetext.core.plugins import Options


class TextOptions(Options):
    """A text table: a module of texts/providers and its options."""

    module: str | None = Field(None, description="module of texts/providers; absent: the table's own name")
    options: dict[str, Any] = Field(default_factory=dict, description="the module's Config")


class ConfusablesOptions(Options):
    """How confusable classes are mined; training clips only."""

    rivals: int = Field(3, ge=1, description="rivals kept per class and rule, m")
    folds: int = Field(5, ge=2, description="folds of the cross-fitted confusion")
    clips_per_class: int = Field(
        50,
        ge=2,
        description="training clips of a class that the cross-fitted confusion takes at most, drawn by their names",
    )
    file: str | None = Field(
        None,
        description="your own csv of rivals with columns label, rival and, if need be, score; {dataset} in it stands for the "
        "data set's name",
    )
    rule: Literal["features", "text", "declared", "file"] = Field(
        "features", description="the rule whose rivals go to the providers; a class without any takes the next one"
    )

    @model_validator(mode="after")
    def _has_its_file(self) -> "ConfusablesOptions":
        if self.rule == "file" and self.file is None:
            raise ValueError("rule is 'file', but `file` is not given; name your csv of rivals there")
        return self
