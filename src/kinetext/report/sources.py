"""The files that the report reads besides the collected tables, and the rules that define confusable classes."""

from pathlib import Path
from typing import NamedTuple

RULES = {  # rule of the table `confusables` -> its words in the report, in the order in which the report prefers them
    "declared": "declared by the data set",
    "features": "confused by the image-text model",
    "text": "similar in their names",
    "file": "listed in your file",
}
BACKBONE_RULES = ("features", "text")  # rules whose pairs depend on the image-text model


class DatasetFiles(NamedTuple):
    """A data set, its table `clips` and its frame shards."""

    name: str
    clips: Path
    shards: list[Path]


class ConfusablesFile(NamedTuple):
    """The table `confusables` of a data set under a protocol, mined with a backbone."""

    dataset: str
    protocol: str
    backbone: str
    path: Path
