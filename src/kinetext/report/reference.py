"""Ours beside what papers report: `report.reference` of the configuration, each number with its source."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from kinetext.config.report import Published
from kinetext.evaluation.metrics import unit_of
from kinetext.report.figures import Estimate, amount
from kinetext.report.outcomes import Key

Found = Mapping[tuple[str, str, str], Mapping[tuple[str, str], Mapping[Key, Estimate]]]


def beside(published: Iterable[Published], found: Found) -> list[dict[str, Any]]:
    """A row per published number: it, ours on the test clips (None if there is none), and ours less it, with the
    interval of ours; the published number counts as exact, as papers give none.
    """
    rows = []
    for number in published:
        measured = found.get((number.dataset, number.protocol, "test"), {}).get((number.metric, "ordered"), {})
        same = [key for key in measured if (key.method, key.texts) == (number.method, number.texts)]
        ours = next((measured[key] for key in same if number.backbone in (None, key.backbone)), None)
        shown = partial(amount, unit=ours.unit if ours else unit_of(number.metric))
        row = {"of": number, "published": shown(number.value), "ours": ours, "apart": None}
        if ours is not None:
            ends = [_signed(shown(end - number.value)) for end in (ours.value, ours.low, ours.high)]
            row |= {"apart": ends, "value": shown(ours.value), "range": [shown(ours.low), shown(ours.high)]}
        rows.append(row)
    return rows


def _signed(number: str) -> str:
    """With its sign; a true minus, for it is as wide as the plus."""
    size = number.removeprefix("-")
    if not size.strip("0."):
        return size
    return ("\N{MINUS SIGN}" if number.startswith("-") else "+") + size
