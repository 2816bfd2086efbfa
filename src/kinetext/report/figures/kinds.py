"""Accuracy by kind of motion: methods x kinds in one small picture."""

from pathlib import Path
from typing import Any

from kinetext.core.palette import COLOURS, GREY, GRID, INK, MUTED
from kinetext.evaluation.intervals import Estimate
from kinetext.report.figures import canvas
from kinetext.report.keys import RowKey

GAP = 16.0  # between the columns of the picture; a column spans 0 to 100 percent
Cells = dict[str, dict[RowKey, Estimate]]  # kind -> row -> accuracy


def kind_plot(name: str, shown: Cells, labels: dict[RowKey, str], axis: str, folder: Path) -> str:
    """Plot one line per row and one column per kind, each point with its interval and the chance level dashed.

    `shown` has the accuracy by kind and row; `labels` has the name of each row, in order. Returns SVG and writes
    {name}.png to `folder`.
    """
    keys = list(labels)
    with canvas.new_figure(0.95 + 0.27 * len(keys)) as (figure, axes):
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
        ticks = (0, 50, 100)  # 0 at the first column only: it would touch the 100 of the one before
        ends = [(column * (100 + GAP) + tick, tick) for column in range(len(shown)) for tick in ticks[column > 0 :]]
        axes.set_xticks([x for x, _ in ends], [str(tick) for _, tick in ends], fontsize=7)
        axes.set_xlim(-4, len(shown) * (100 + GAP) - GAP + 4)
        axes.spines["bottom"].set_visible(False)
        axes.spines["left"].set_visible(False)
        axes.tick_params(length=0)
        axes.set_xlabel(axis, loc="right")  # long names of rows leave more room on the left
        return canvas.save(figure, name, folder)


def _draw_column(axes: Any, left: float, rows: int, chance: float | None) -> None:
    """Draw the frame of the column of a kind, and its chance level."""
    for tick in (0, 50, 100):
        axes.plot([left + tick] * 2, [-0.5, rows - 0.5], color=GREY if tick != 50 else GRID, linewidth=0.8, zorder=0)
    if chance is not None:
        axes.plot([left + 100 * chance] * 2, [-0.5, rows - 0.5], color=INK, linewidth=0.9, dashes=(4, 3), zorder=1)


def _draw_cell(axes: Any, left: float, y: int, estimate: Estimate) -> None:
    """Draw an estimate; grey unless its interval is above chance, so that the kinds that a method sees stand out."""
    chance = estimate.chance
    seen = chance is None or estimate.low > chance
    style = {"color": COLOURS[0] if seen else MUTED, "zorder": 3}
    axes.plot([left + 100 * estimate.low, left + 100 * estimate.high], [y] * 2, linewidth=1.6, **style)
    marker = {
        "markersize": 5,
        "markeredgecolor": style["color"],
        "markerfacecolor": style["color"] if seen else "white",
    }
    axes.plot([left + 100 * estimate.value], [y], "o", zorder=4, **marker)
