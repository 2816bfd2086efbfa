"""Names of what the report compares: comparisons and their rows."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

RECONSTRUCTIONS = re.compile(
    r"moted(_|$)"
)  # methods whose paper could not be read in full: said wherever a row is named


class Comparison(NamedTuple):
    """Clips that several methods are tested on: a split of a data set under a protocol.

    For a mean over several data sets, `dataset` is "mean of N".
    """

    dataset: str
    protocol: str
    split: str


class RowKey(NamedTuple):
    """A row of a comparison: runs that differ only in the seed."""

    backbone: str
    method: str
    texts: str

    @property
    def method_title(self) -> str:
        """The method as it is shown: a reconstruction is called one."""
        return method_title(self.method)

    @property
    def backbone_method(self) -> tuple[str, str]:
        """The backbone and method, which rows with other texts may share."""
        return self.backbone, self.method


def method_title(method: str) -> str:
    """Return the name of a method as it is shown."""
    return f"{method} (reconstruction)" if RECONSTRUCTIONS.match(method) else method


def comparison_of(row: dict[str, Any]) -> Comparison:
    """Return the comparison that a row of a table belongs to."""
    return Comparison(*(row[column] for column in Comparison._fields))


def key_of(row: dict[str, Any], prefix: str = "") -> RowKey:
    """Return the key of a row of a table. With the prefix "than_", it is the key of the row that was subtracted."""
    return RowKey(*(row[f"{prefix}{column}"] for column in RowKey._fields))


def pool_name(datasets: int, metric: str) -> str:
    """Return the name of a mean over data sets, used in place of a data set. Names of data sets have no spaces.

    Data sets with captions, or with several labels per clip, are averaged separately from others, under other names.
    """
    if metric == "lrap":
        return f"mean of {datasets} multi-label"
    return f"mean of {datasets}" + (" captioned" if metric.startswith(("t2v", "v2t")) else "")


def over_draws(protocol: str, draws: int) -> str:
    """Return the name of a mean over draws of few-shot clips, used in place of a protocol. Protocols have no spaces."""
    return f"{protocol} mean of {draws} draws"


def num_draws(comparison: Comparison) -> int:
    """Return how many draws of few-shot clips a comparison averages; 1 if it is not a mean over draws."""
    match = re.fullmatch(r".+ mean of (\d+) draws", comparison.protocol)
    return int(match[1]) if match else 1


def is_pooled(comparison: Comparison) -> bool:
    """Return whether the comparison is a mean over data sets."""
    return " " in comparison.dataset


def sort_key(comparison: Comparison) -> tuple[bool, str, str, int]:
    """Return a sort key: means over data sets first, then data set, protocol and split, `test` before `novel`."""
    position = {"test": 0, "novel": 1, "novel_among_all": 2, "test_among_all": 3}.get(comparison.split, 4)
    return not is_pooled(comparison), comparison.dataset, comparison.protocol, position


def title(comparison: Comparison) -> str:
    """Return a comparison in words."""
    dataset = f"{comparison.dataset} data sets" if is_pooled(comparison) else comparison.dataset
    split, among_all, _ = comparison.split.partition("_among_all")
    clips = f"{split} clips among all classes" if among_all else f"{split} clips"
    return f"{dataset}, {clips}, {comparison.protocol}"


def file_name(parts: Sequence[str]) -> str:
    """Return a comparison, or a part of it, as a part of a file name."""
    return "-".join(parts).replace(" ", "_")


def method_names(keys: Iterable[RowKey]) -> dict[RowKey, str]:
    """Return the method of each row, with the backbone if the rows have several."""
    keys = list(keys)
    several = len({key.backbone for key in keys}) > 1
    return {key: f"{key.method_title} ({key.backbone})" if several else key.method_title for key in keys}


def row_labels(keys: Iterable[RowKey]) -> dict[RowKey, str]:
    """Return the label of each row in a figure."""
    return {key: f"{name} · {key.texts}" for key, name in method_names(keys).items()}
