"""What each method sees: accuracy by kind of motion, as one small picture of methods x kinds, and as a table.

The kinds come from the clips (column `kind`), the metrics from evaluation/kinds.py. The picture shows the accuracy
within confusable pairs where it was measured, because its chance level is the same for all kinds, else top-1 accuracy.
"""

from pathlib import Path
from typing import Any

from kinetext.evaluation.kinds import KIND_ACCURACY, KIND_PAIR_ACCURACY
from kinetext.report.estimates import Estimates, Measured
from kinetext.report.figures.kinds import Cells, kind_plot
from kinetext.report.keys import RowKey, file_name, row_labels, sort_key

RULE_ORDER = ("declared", "file", "features", "text")  # the first rule that was measured is pictured


def kind_sections(estimates: Estimates, folder: Path) -> list[dict[str, Any]]:
    """Return the accuracy by kind of each comparison whose clips have kinds, the best mean over kinds first."""
    sections = []
    for comparison in sorted(estimates, key=sort_key):
        top1, pairs = by_kind(estimates[comparison])
        if not top1:
            continue
        rule = next((rule for rule in (*RULE_ORDER, *pairs) if rule in pairs), None)
        shown = pairs[rule] if rule else top1
        keys = sorted({key for cells in shown.values() for key in cells}, key=lambda key: (-_mean(shown, key), key))
        axis = f"accuracy within confusable pairs ({rule})" if rule else "top-1 accuracy"
        tables = {axis: shown} | ({"top-1 accuracy among all classes": top1} if rule else {})
        sections.append(
            {
                "comparison": comparison,
                "row_keys": keys,
                "tables": tables,
                "columns": {name: [list(cells.values()) for cells in table.values()] for name, table in tables.items()},
                "plot": kind_plot(
                    f"kinds-{file_name(comparison)}", shown, row_labels(keys), f"{axis}, percent", folder
                ),
            }
        )
    return sections


def by_kind(measured: Measured) -> tuple[Cells, dict[str, Cells]]:
    """Return the top-1 accuracy by kind, and the pair accuracy by rule and kind."""
    top1: Cells = {}
    pairs: dict[str, Cells] = {}
    for (metric, frame_order), cells in measured.items():
        name, _, rest = metric.partition(":")
        if frame_order != "ordered":
            continue
        if name == KIND_ACCURACY:
            top1[rest] = dict(cells)
        elif name == KIND_PAIR_ACCURACY:
            rule, _, kind = rest.partition(":")
            pairs.setdefault(rule, {})[kind] = dict(cells)
    return top1, pairs


def _mean(shown: Cells, key: RowKey) -> float:
    """Return the mean accuracy of a row over the kinds that it was measured on."""
    values = [cells[key].value for cells in shown.values() if key in cells]
    return sum(values) / len(values)
