"""The figures of the report, as SVG for the page and PNG for Snakemake's report.

All comparisons use one dot plot with intervals (Cleveland 1984). The other figures show costs, learning curves, mean
ranks and the matrix of confusable classes. Figures are narrow, because a phone scales them down. Values of metrics are
between 0 and 1 and are shown in percent.
"""

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from kinetext.core.palette import COLOURS, DASHES, GREY, GRID, INK, MARKERS, MUTED
from kinetext.evaluation.intervals import Estimate

WIDTH_IN = 6.2
CLASSES_LARGE_TYPE = 25  # class names up to which the matrix uses large type

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
    with _figure(height_in) as (figure, axes):
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
        return _save(figure, name, folder)


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


def cost_plot(
    name: str,
    points: list[tuple[str, str, float, Estimate]],
    cost: str,
    axis: str,
    folder: Path,
    chance: float | None = None,
) -> str:
    """Plot accuracy over a cost. Returns SVG and writes {name}.png to `folder`.

    `points` are (method, texts, cost, accuracy). `cost` and `axis` label the axes. The colour shows the method, with
    dark edges once the colours repeat, and the marker shows the texts. The scale of the costs is logarithmic. If there
    are zeros, it is linear up to the decade of the lowest other cost.
    """
    methods, texts = sorted({point[0] for point in points}), sorted({point[1] for point in points})
    edges = {method: "white" if i < len(COLOURS) else INK for i, method in enumerate(methods)}
    with _figure(max(3.6, 0.3 * (len(methods) + len(texts)))) as (figure, axes):
        for method, text, amount, estimate in points:
            style = {"color": COLOURS[methods.index(method) % len(COLOURS)]}
            axes.plot([amount] * 2, [100 * estimate.low, 100 * estimate.high], linewidth=1.4, alpha=0.55, **style)
            marker = MARKERS[texts.index(text) % len(MARKERS)]
            axes.plot([amount], [100 * estimate.value], marker, markersize=7, markeredgecolor=edges[method], **style)
        _draw_chance(axes, chance)
        _cost_scale(axes, [point[2] for point in points])
        axes.grid(axis="y", color=GRID)
        axes.set_xlabel(cost)
        axes.set_ylabel(axis)
        handles = [
            axes.plot([], [], "o", color=COLOURS[i % len(COLOURS)], markeredgecolor=edges[m], label=m)[0]
            for i, m in enumerate(methods)
        ]
        handles += [axes.plot([], [], MARKERS[i % len(MARKERS)], color=MUTED, label=t)[0] for i, t in enumerate(texts)]
        axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)
        return _save(figure, name, folder)


def _cost_scale(axes: Any, costs: list[float]) -> None:
    """Set the scale of the axis of costs, with two to seven labelled ticks, and one more for zero."""
    above = [cost for cost in costs if cost > 0] or [1.0]
    first, last = math.floor(math.log10(min(above))), math.ceil(math.log10(2 * max(above)))
    ticks = [10.0**power for power in range(first, last + 1)]
    if len(ticks) < 4:
        ticks = [factor * tick for tick in ticks[:-1] for factor in (1, 2, 5)] + ticks[-1:]
    step = -(-len(ticks) // 7)  # seven numbers at most, which fit beside each other
    ticks = ticks[::step]
    if min(costs) <= 0:
        axes.set_xscale("symlog", linthresh=10.0**first, linscale=0.4)
        axes.set_xlim(-0.3 * 10.0**first, 2 * max(above))
        ticks.insert(0, 0.0)
    else:
        axes.set_xscale("log")
        axes.set_xlim(min(above) / 2, 2 * max(above))
    axes.set_xticks(ticks, [_short(tick) for tick in ticks])
    axes.minorticks_off()


def _short(number: float) -> str:
    """Return a number with k, M or G for thousands, millions and billions."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:g}{unit}"
    return f"{number:g}"


def _draw_chance(axes: Any, chance: float | None) -> None:
    """Draw a dashed line at the chance level (0 to 1) in a plot of percentages."""
    if chance is not None:
        axes.axhline(100 * chance, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        right = axes.get_yaxis_transform()  # x as a share of the width, y in data
        axes.text(0.995, 100 * chance, "chance", transform=right, fontsize=8.5, ha="right", va="bottom")


def curve_plot(
    name: str,
    curves: dict[str, list[list[tuple[float, float]]]],
    axis: str,
    folder: Path,
    chance: float | None = None,
    over: str = "epoch",
) -> str:
    """Plot one line per row, over epochs or what `over` names. Returns SVG and writes {name}.png to `folder`.

    `curves` has the (epoch, value) points of each seed of each row. The line is the mean over seeds, and the band spans
    the lowest to the highest seed. Rows differ in colour, marker and dashes.
    """
    with _figure(3.2 + 0.16 * len(curves)) as (figure, axes):
        for k, (label, seeds) in enumerate(curves.items()):
            values: dict[float, list[float]] = {}
            for epoch, value in (point for seed in seeds for point in seed):
                values.setdefault(epoch, []).append(value)
            epochs = sorted(values)
            means = [sum(values[epoch]) / len(values[epoch]) for epoch in epochs]
            low, high = ([end(values[epoch]) for epoch in epochs] for end in (min, max))
            _draw_band(axes, k, label, epochs, means, low, high)
        _draw_chance(axes, chance)
        return _finish_bands(figure, axes, over, axis, name, folder)


def trial_plot(name: str, bands: dict[str, list[np.ndarray]], axis: str, folder: Path) -> str:
    """Plot the best score over the number of trials. Returns SVG and writes {name}.png to `folder`.

    `bands` has the mean, lower end and upper end of each row, from 0 to 1.
    """
    with _figure(3.2 + 0.16 * len(bands)) as (figure, axes):
        for k, (label, ends) in enumerate(bands.items()):
            numbers = list(range(1, len(ends[0]) + 1))
            _draw_band(axes, k, label, numbers, *((100 * end).tolist() for end in ends))
        return _finish_bands(figure, axes, "trials", axis, name, folder)


def _draw_band(
    axes: Any, k: int, label: str, x: list[Any], middle: list[float], low: list[float], high: list[float]
) -> None:
    """Draw a line and the band around it in the style of series number k."""
    style = {"color": COLOURS[k % len(COLOURS)]}
    marker = {"marker": MARKERS[k % len(MARKERS)], "markersize": 4, "markevery": max(1, len(x) // 8)}
    dashes = DASHES[k // len(COLOURS) % len(DASHES)]
    axes.plot(x, middle, linestyle=dashes, linewidth=1.5, label=label, **marker, **style)
    axes.fill_between(x, low, high, alpha=0.12, linewidth=0, **style)


def _finish_bands(figure: Any, axes: Any, x_axis: str, y_axis: str, name: str, folder: Path) -> str:
    """Label and save a plot of bands. Returns SVG."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))  # epochs and trials are whole numbers
    axes.set_xlabel(x_axis)
    axes.set_ylabel(y_axis)
    axes.grid(axis="y", color=GRID)
    figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=8)
    return _save(figure, name, folder)


def rank_plot(name: str, rank_by_label: dict[str, float], critical: float, folder: Path) -> str:
    """Plot mean ranks, the best on top. Returns SVG and writes {name}.png to `folder`.

    Bars connect rows whose ranks differ by less than the critical difference.
    """
    labels, ranks = list(rank_by_label), list(rank_by_label.values())
    with _figure(1.2 + 0.3 * len(labels)) as (figure, axes):
        axes.plot(ranks, range(len(ranks)), "o", color=COLOURS[0], zorder=3)
        reach, bars = -1, 0
        for first, rank in enumerate(ranks):
            last = max(i for i, other in enumerate(ranks) if other - rank < critical)
            if last > max(reach, first):  # not within the bar before
                x = len(ranks) + 0.6 + 0.25 * bars
                axes.plot([x, x], [first - 0.2, last + 0.2], color=INK, linewidth=3, solid_capstyle="butt")
                bars += 1
            reach = max(reach, last)
        axes.plot([1, 1 + critical], [-0.9, -0.9], color=INK, linewidth=1.5, marker="|")
        axes.text(1 + critical / 2, -1.0, f"critical difference {critical:.2f}", ha="center", va="bottom", fontsize=8.5)
        axes.set_yticks(range(len(labels)), labels)
        axes.set_ylim(len(labels) - 0.5, -1.8)
        axes.set_xlim(0.7, len(ranks) + 0.8 + 0.25 * bars)
        axes.set_xticks(range(1, len(ranks) + 1))
        axes.set_xlabel("mean rank over data sets; 1 is best")
        axes.tick_params(axis="y", length=0)
        return _save(figure, name, folder)


def trade_off_plot(name: str, curves: dict[str, list[list[tuple[float, float]]]], folder: Path) -> str:
    """Plot accuracy on novel classes over accuracy on trained classes. Returns SVG and writes {name}.png to `folder`.

    `curves` has the (seen, unseen) points of each seed of each row.
    """
    with _figure(3.6 + 0.16 * len(curves)) as (figure, axes):
        for k, (label, seeds) in enumerate(curves.items()):
            style = {"color": COLOURS[k % len(COLOURS)], "linestyle": DASHES[k // len(COLOURS) % len(DASHES)]}
            for number, points in enumerate(seeds):
                seen, unseen = zip(*sorted(points, key=lambda point: (-point[0], point[1])), strict=True)
                axes.plot(
                    [100 * x for x in seen],
                    [100 * y for y in unseen],
                    linewidth=1.1,
                    label=None if number else label,
                    **style,
                )
        axes.set_xlabel("trained classes among all, percent")
        axes.set_ylabel("novel classes among all, percent")
        axes.grid(color=GRID)
        figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=8)
        return _save(figure, name, folder)


def matrix_plot(
    name: str, scores_KK: np.ndarray, labels: list[str], groups: list[tuple[int, int]], folder: Path
) -> str:
    """Plot a matrix of scores as squares, darker for higher scores. Returns SVG and writes {name}.png to `folder`.

    `groups` are outlined; each is (index of the first class, size). The names of up to 60 classes are readable.
    """
    from matplotlib.patches import Rectangle

    count = len(labels)
    side_in = 4.2 if count <= CLASSES_LARGE_TYPE else WIDTH_IN - 1.6
    with _figure(side_in + 1.4) as (figure, axes):
        first, second = scores_KK.nonzero()
        share = scores_KK[first, second] / scores_KK.max()
        side_pt = 0.8 * 72 * side_in / count
        colours = [(0.0, 0.447, 0.698, 0.12 + 0.88 * max(0.0, float(x))) for x in share]
        axes.scatter(second, first, s=side_pt**2, c=colours, marker="s", linewidths=0)
        for start, size in groups:
            corner = (start - 0.5, start - 0.5)
            axes.add_patch(Rectangle(corner, size, size, fill=False, edgecolor=COLOURS[1], linewidth=0.8))
        axes.set_xlim(-0.5, count - 0.5)
        axes.set_ylim(count - 0.5, -0.5)
        axes.set_aspect("equal")
        size_pt = 9 if count <= CLASSES_LARGE_TYPE else 6
        axes.set_yticks(range(count), labels, fontsize=size_pt)
        axes.set_xticks(range(count), labels, fontsize=size_pt, rotation=90)
        axes.tick_params(length=0)
        return _save(figure, name, folder)


@contextmanager
def _figure(height_in: float) -> Iterator[tuple[Any, Any]]:
    """Yield a figure and its axes in the style of the report, without a display and without changing global state."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: Any = {
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": GREY,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "text.color": INK,
        "svg.fonttype": "path",  # the reader's fonts are unknown
        "text.parse_math": False,  # a class may be named `$$`
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure, figure.add_subplot()


def _save(figure: Any, name: str, folder: Path) -> str:
    """Save the figure as PNG, for `snakemake --report`, and return it as SVG for the page."""
    import matplotlib as mpl

    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png", dpi=160)
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):  # ids differ between figures of a page, not between two renderings
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :]
