"""Published results beside measured ones: `report.reference` of the configuration, each with its source."""

from collections.abc import Iterable
from functools import partial
from typing import Any

from kinetext.config.report import Published
from kinetext.evaluation.intervals import Estimate
from kinetext.evaluation.metrics import unit_of
from kinetext.report.estimates import Estimates
from kinetext.report.formats import format_value, with_sign
from kinetext.report.harmonic import HARMONIC_MEANS
from kinetext.report.keys import Comparison, RowKey, method_title
from kinetext.report.novel import harmonic_means


def compare_with_published(published: Iterable[Published], estimates: Estimates) -> list[dict[str, Any]]:
    """Return a row for each published result: the published value, the measured one, and the difference.

    The measured result is from the same split, or None if there is none. The interval of the difference is the measured
    interval minus the published value, because papers report no intervals.
    """
    rows = []
    for number in published:
        cells = _measured(number, estimates)
        matching = [key for key in cells if (key.method, key.texts) == (number.method, number.texts)]
        ours = next((cells[key] for key in matching if number.backbone in (None, key.backbone)), None)
        show = partial(format_value, unit=ours.unit if ours else unit_of(number.metric))
        row = {
            "number": number,
            "title": method_title(number.method),
            "published": show(number.value),
            "ours": ours,
            "difference": None,
        }
        if ours is not None:
            ends = [with_sign(show(end - number.value)) for end in (ours.value, ours.low, ours.high)]
            row |= {"difference": ends, "value": show(ours.value), "range": [show(ours.low), show(ours.high)]}
        rows.append(row)
    return rows


def _measured(number: Published, estimates: Estimates) -> dict[RowKey, Estimate]:
    """Return the measured rows for the metric and the split of a published result."""
    comparison = Comparison(number.dataset, number.protocol, number.split)
    if number.metric in HARMONIC_MEANS:
        return harmonic_means(estimates, comparison, "top1").get(number.metric, {})
    return estimates.get(comparison, {}).get((number.metric, "ordered"), {})
