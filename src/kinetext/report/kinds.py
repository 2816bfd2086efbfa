"""What each method sees: accuracy by kind of motion, as one small picture of methods x kinds, and as a table.

The kinds come from the clips (column `kind`), the metrics from evaluation/kinds.py. The picture shows the accuracy
within confusable pairs where it was measured, because its chance level is the same for all kinds, else top-1 accuracy.
"""

from pathlib import Path
from typing import Any

from kinetext.core.palette import COLOURS, GREY, GRID, INK, MUTED
from kinetext.evaluation.intervals import Estimate
from kinetext.evaluation.kinds import KIND_ACCURACY, KIND_PAIR_ACCURACY
from kinetext.report import figures
from kinetext.report.estimates import Estimates, Measured
from kinetext.report.keys import RowKey, file_name, row_labels, sort_key

RULE_ORDER = ("declared", "file", "features", "text")  # the first rule that was measured is pictured
GAP = 16.0  # between the columns of the picture; a column spans 0 to 100 percent
Cells = dict[str, dict[RowKey, Estimate]]  # kind -> row -> accuracy


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
                "plot": kind_plot(f"kinds-{file_name(comparison)}", shown, keys, f"{axis}, percent", folder),
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


def kind_plot(name: str, shown: Cells, keys: list[RowKey], axis: str, folder: Path) -> str:
    """Plot one line per row and one column per kind, each point with its interval and the chance level dashed.

    Returns SVG and writes {name}.png to `folder`.
    """
    labels = row_labels(keys)
    with figures.new_figure(0.95 + 0.27 * len(keys)) as (figure, axes):
        for column, (kind, cells) in enumerate(shown.items()):
            left = column * (100 + GAP)
            _draw_column(axes, left, len(keys), next((cell.chance for cell in cells.values()), None))
            above = axes.get_xaxis_transform()  # x in data, y as a share of the height
            axes.text(left + 50, 1.01, kind, transform=above, fontsize=9, ha="center", va="bottom")
            for y, key in enumerate(keys):
                if key in cells:
                    _draw_cell(axes, left, y, cells[key])
        axes.set_yticks(range(len(keys)), [labels[key] for key in keys])
        axes.set_ylim(len(keys) - 0.5, -0.5)
        ends = [(column * (100 + GAP) + tick, tick) for column in range(len(shown)) for tick in (0, 50, 100)]
        axes.set_xticks([x for x, _ in ends], [str(tick) for _, tick in ends], fontsize=7)
        axes.set_xlim(-4, len(shown) * (100 + GAP) - GAP + 4)
        axes.spines["bottom"].set_visible(False)
        axes.spines["left"].set_visible(False)
        axes.tick_params(length=0)
        axes.set_xlabel(axis)
        return figures.save_figure(figure, name, folder)


def _draw_column(axes: Any, left: float, rows: int, chance: float | None) -> None:
    """Draw the frame of the column of a kind, and its chance level."""
    for tick in (0, 50, 100):
        axes.plot([left + tick] * 2, [-0.5, rows - 0.5], color=GREY if tick != 50 else GRID, linewidth=0.8, zorder=0)
    if chance is not None:
        axes.plot([left + 100 * chance] * 2, [-0.5, rows - 0.5], color=INK, linewidth=0.9, dashes=(4, 3), zorder=1)


def _draw_cell(axes: Any, left: float, y: int, estimate: Estimate) -> None:
    """Draw an estimate; grey where its interval includes chance, so that the kinds that a method sees stand out."""
    chance = estimate.chance
    seen = chance is None or not estimate.low <= chance <= estimate.high
    style = {"color": COLOURS[0] if seen else MUTED, "zorder": 3}
    axes.plot([left + 100 * estimate.low, left + 100 * estimate.high], [y] * 2, linewidth=1.6, **style)
    marker = {
        "markersize": 5,
        "markeredgecolor": style["color"],
        "markerfacecolor": style["color"] if seen else "white",
    }
    axes.plot([left + 100 * estimate.value], [y], "o", zorder=4, **marker)
