"""Options of text sets and of confusable classes."""

from typing import Any, Literal

from pydantic import Field, model_validator

from kinetext.core.plugins import Options

DATASET_KEYS = ("bank", "path", "confusions")  # options of text providers that may name the data set


class TextOptions(Options):
    """A text set: the module of its provider, and the options of the module."""

    module: str | None = Field(None, description="module of texts/providers; absent: the text set's own name")
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="options of the module; {dataset} in `bank` or `path` is replaced by the data set's name",
    )

    def for_dataset(self, dataset: str) -> "TextOptions":
        """Return the options for a data set: its name replaces "{dataset}" in the options `bank` and `path`."""
        return self.model_copy(update={"options": _for_dataset(self.options, dataset)})


def _for_dataset(options: dict[str, Any], dataset: str) -> dict[str, Any]:
    replaced = {}
    for key, value in options.items():
        if isinstance(value, dict):  # the options of the provider that a control rearranges
            value = _for_dataset(value, dataset)
        elif key in DATASET_KEYS and isinstance(value, str):
            value = value.replace("{dataset}", dataset)
        replaced[key] = value
    return replaced


class ConfusablesOptions(Options):
    """How confusable classes are found."""

    rivals: int = Field(3, ge=1, description="rivals per class and rule")
    folds: int = Field(5, ge=2, description="folds of the cross-validated confusion matrix")
    clips_per_class: int = Field(
        50,
        ge=2,
        description="most training clips per class in the cross-validated confusion matrix; a fixed draw by clip id",
    )
    file: str | None = Field(
        None,
        description="csv file of rivals with columns label, rival and optionally score; {dataset} is replaced by the data set's "
        "name",
    )
    rule: Literal["features", "text", "declared", "file"] = Field(
        "features", description="rule whose rivals the text providers see; a class without rivals uses the next rule"
    )

    @model_validator(mode="after")
    def _has_its_file(self) -> "ConfusablesOptions":
        if self.rule == "file" and self.file is None:
            raise ValueError("rule is file, but `file` is not set; set it to your csv file of rivals")
        return self
