"""What every part of the report takes its numbers from: one Estimate for each comparison, metric, frame order and row of it.

A comparison is a data set under a protocol and a split of its clips, or the mean over several data sets with rows in common;
its rows are backbones with methods and texts.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from kinetext.evaluation.metrics import unit_of
from kinetext.report.figures import Estimate
from kinetext.report.outcomes import Key
from kinetext.report.paired import holm

Comparison = tuple[str, str, str]  # dataset, protocol, split
Measured = dict[tuple[str, str], dict[Key, Estimate]]  # (metric, frame order) -> row -> number
Estimates = dict[Comparison, Measured]
ALPHA = 0.05  # differences whose corrected p is above it are not told apart
Of = TypeVar("Of")


@dataclass(frozen=True, kw_only=True)
class Difference(Estimate):
    """One row less another on the same clips: the p of its permutation test, and that p corrected for its family (Holm)."""

    p: float
    holm: float

    @property
    def told_apart(self) -> bool:
        """Whether the two rows differ by more than chance explains, all comparisons of the family considered."""
        return self.holm <= ALPHA


def estimates(metrics: list[dict[str, Any]]) -> Estimates:
    """The rows of `metrics`, averaged over seeds. A row that counted nothing (NaN or null) is left out."""
    seeds: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for row in metrics:
        if row["value"] is not None and row["value"] == row["value"]:
            comparison = (row["dataset"], row["protocol"], row["split"])
            seeds[comparison, (row["metric"], row["frame_order"]), key_of(row)].append(row)
    found: Estimates = defaultdict(lambda: defaultdict(dict))
    for (comparison, measured, key), rows in seeds.items():
        value, low, high = (sum(row[c] for row in rows) / len(rows) for c in ("value", "low", "high"))
        values = [row["value"] for row in rows]
        clips = max(row["clips"] for row in rows)
        number = Estimate(value, low, high, min(values), max(values), len(rows), clips)
        found[comparison][measured][key] = replace(
            number,
            unit=rows[0].get("unit") or unit_of(measured[0]),
            higher_is_better=rows[0].get("higher_is_better") is not False,
        )
    return found


def pools(differences: list[dict[str, Any]]) -> dict[Comparison, list[str]]:
    """The comparisons that are a mean over data sets, with the data sets."""
    return {place(row): row["pooled"] for row in differences if row["pooled"]}


def pooled(found: Estimates, at: Comparison, datasets: Sequence[str], keys: set[Key]) -> Measured:
    """What all of the data sets have measured of the rows `keys`, averaged over them; single pairs of classes are left out."""
    each = [found[dataset, at[1], at[2]] for dataset in datasets]
    measured = [name for name in each[0] if "/" not in name[0] and all(name in one for one in each)]
    shared = {
        name: [key for key in each[0][name] if key in keys and all(key in o[name] for o in each)] for name in measured
    }
    return {
        name: {key: mean_over_datasets([one[name][key] for one in each]) for key in own}
        for name, own in shared.items()
        if own
    }


def mean_over_datasets(parts: Sequence[Estimate]) -> Estimate:
    """The mean of independent numbers. Its ends are as far from it as the root of the summed squares of theirs, which need
    not lie alike to both sides (square-and-add: Zou and Donner, Statistics in Medicine 2008).
    """
    count, values = len(parts), [part.value for part in parts]
    mean = sum(values) / count
    low = mean - sum((part.value - part.low) ** 2 for part in parts) ** 0.5 / count
    high = mean + sum((part.high - part.value) ** 2 for part in parts) ** 0.5 / count
    seeds, clips = min(part.seeds for part in parts), sum(part.clips for part in parts)
    number = Estimate(mean, low, high, min(values), max(values), seeds, clips, count)
    return replace(number, unit=parts[0].unit, higher_is_better=parts[0].higher_is_better)


def difference(row: dict[str, Any]) -> Difference:
    """A row of the table `differences`, not yet corrected for others. It has no range over seeds, for seeds are averaged
    clip by clip, but one over data sets.
    """
    least, most = (row["value"] if row[end] is None else row[end] for end in ("least", "most"))
    numbers = (
        row["value"],
        row["low"],
        row["high"],
        least,
        most,
        row["seeds"],
        row["clips"],
        len(row["pooled"] or "1"),
    )
    return Difference(*numbers, p=row["p"], holm=row["p"])


def corrected(family: Mapping[Of, Difference]) -> dict[Of, Difference]:
    """The same differences, with each p corrected for there being so many of them."""
    p = holm([one.p for one in family.values()])
    return {of: replace(one, holm=own) for (of, one), own in zip(family.items(), p, strict=True)}


def long_rows(found: Estimates) -> Iterable[dict[str, Any]]:
    """The numbers one a row, for a csv file."""
    for (dataset, protocol, split), measured in found.items():
        for (metric, frame_order), cells in measured.items():
            for key, estimate in cells.items():
                about = {
                    "dataset": dataset,
                    "protocol": protocol,
                    "split": split,
                    "metric": metric,
                    "frame_order": frame_order,
                }
                yield {**about, **key._asdict(), **vars(estimate)}


def place(row: dict[str, Any]) -> Comparison:
    """The comparison that a row of metrics or differences belongs to."""
    return row["dataset"], row["protocol"], row["split"]


def key_of(row: dict[str, Any], than: str = "") -> Key:
    """Return the row of its comparison that a row of a table belongs to; `than` is the prefix of the columns."""
    return Key(*(row[f"{than}{column}"] for column in Key._fields))


def order(at: Comparison) -> tuple[bool, str, str, int]:
    """Means over data sets first, then test before novel before anything else."""
    return " " not in at[0], at[0], at[1], {"test": 0, "novel": 1, "novel_among_all": 2}.get(at[2], 3)


def title(at: Comparison) -> str:
    """A comparison in words."""
    dataset = f"{at[0]} data sets" if " " in at[0] else at[0]
    return f"{dataset}, {at[2]} clips, {at[1]}"


def file_name(at: Sequence[str]) -> str:
    """A comparison in the name of a file."""
    return "-".join(at).replace(" ", "_")


def method_names(keys: Iterable[Key]) -> dict[Key, str]:
    """Return the method of each row, with its backbone where the rows have several."""
    keys = list(keys)
    several = len({key.backbone for key in keys}) > 1
    return {key: f"{key.method} ({key.backbone})" if several else key.method for key in keys}


def labels(keys: Iterable[Key]) -> dict[Key, str]:
    """Return the name of each row in a figure."""
    return {key: f"{name} · {key.texts}" for key, name in method_names(keys).items()}
