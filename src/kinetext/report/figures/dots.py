"""Dot plot with intervals (Cleveland 1984), the figure of all comparisons of methods."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kinetext.core.palette import COLOURS, GRID, INK, MARKERS
from kinetext.evaluation.intervals import Estimate
from kinetext.report.figures import canvas

PlotRow = tuple[
    str, list[tuple[str, Estimate | None]]
]  # label of the line; its points, each with the name of its series


def dot_plot(
    name: str,
    rows: list[PlotRow],
    axis: str,
    folder: Path,
    line: tuple[float, str] | None = None,
    series: Sequence[str] = (),
    chance: Mapping[str, float | None] | None = None,
) -> str:
    """Plot one line per row and one point per series with its interval, and thin ticks at the lowest and highest seed.

    `line` is a reference value and its label. `chance` has the chance level of each series, if they differ. `series`
    fixes the colours, so that they are equal in all figures. Returns SVG and writes {name}.png to `folder`.
    """
    series = list(dict.fromkeys([*series, *(name for _, points in rows for name, _ in points)]))
    several = max(len(points) for _, points in rows) > 1
    height_in = 0.75 + len(rows) * (0.2 + 0.14 * len(series) if several else 0.3) + (0.35 if several else 0)
    with canvas.new_figure(height_in) as (figure, axes):
        for y, (_, points) in enumerate(rows):
            if y:
                axes.axhline(y - 0.5, color=GRID, linewidth=0.8, zorder=0)
            for position, (point_series, estimate) in enumerate(points):
                if estimate is not None:
                    offset = 0.7 * ((position + 0.5) / len(points) - 0.5) if several else 0
                    _draw_point(axes, estimate, y + offset, series.index(point_series))
        if several:
            _draw_legend(figure, axes, series)
        for value, colour in _reference_lines(line, chance, series):
            axes.axvline(100 * value, color=colour, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        if line:
            above = axes.get_xaxis_transform()  # x in data, y as a share of the height
            axes.text(100 * line[0], 1.01, line[1], transform=above, fontsize=8.5, ha="center", va="bottom")
        axes.set_yticks(range(len(rows)), [label for label, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel(axis)
        axes.tick_params(axis="y", length=0)
        return canvas.save(figure, name, folder)


def _reference_lines(
    line: tuple[float, str] | None, chance: Mapping[str, float | None] | None, series: list[str]
) -> Iterator[tuple[float, str]]:
    """Yield the value and colour of each dashed line: one for all series, or one in the colour of each series."""
    if line:
        yield line[0], INK
    for name, value in (chance or {}).items():
        if value is not None:
            yield value, COLOURS[series.index(name) % len(COLOURS)]


def _draw_point(axes: Any, estimate: Estimate, y: float, k: int) -> None:
    """Draw an estimate in the style of series number k."""
    style = {"color": COLOURS[k % len(COLOURS)], "zorder": 3}
    axes.plot([100 * estimate.low, 100 * estimate.high], [y] * 2, linewidth=1.8, **style)
    marker = MARKERS[k % len(MARKERS)]
    axes.plot([100 * estimate.value], [y], marker, markersize=6, markeredgecolor="white", **style)
    if estimate.least < estimate.most:
        ends = [100 * estimate.least, 100 * estimate.most]
        axes.plot(ends, [y] * 2, "|", markersize=6, color=INK, zorder=4, markeredgewidth=0.8)


def _draw_legend(figure: Any, axes: Any, series: list[str]) -> None:
    """Draw the legend of the series above the plot."""
    handles = [
        axes.plot([], [], linewidth=1.8, label=name, color=COLOURS[k % len(COLOURS)], marker=MARKERS[k % len(MARKERS)])[
            0
        ]
        for k, name in enumerate(series)
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(4, len(series)), frameon=False, fontsize=9)
