"""Lines with a band around them: learning curves, and the best score over the number of trials."""

from pathlib import Path
from typing import Any

import numpy as np

from kinetext.core.palette import COLOURS, DASHES, GRID, MARKERS
from kinetext.report.figures import canvas


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
    with canvas.new_figure(3.2 + 0.16 * len(curves)) as (figure, axes):
        for k, (label, seeds) in enumerate(curves.items()):
            values: dict[float, list[float]] = {}
            for epoch, value in (point for seed in seeds for point in seed):
                values.setdefault(epoch, []).append(value)
            epochs = sorted(values)
            means = [sum(values[epoch]) / len(values[epoch]) for epoch in epochs]
            low, high = ([end(values[epoch]) for epoch in epochs] for end in (min, max))
            _draw_band(axes, k, label, epochs, means, low, high)
        canvas.draw_chance(axes, chance)
        return _finish_bands(figure, axes, over, axis, name, folder)


def trial_plot(
    name: str, bands: dict[str, list[np.ndarray]], axis: str, folder: Path, chance: float | None = None
) -> str:
    """Plot the best score over the number of trials. Returns SVG and writes {name}.png to `folder`.

    `bands` has the mean, lower end and upper end of each row, from 0 to 1, as is the chance level.
    """
    with canvas.new_figure(3.2 + 0.16 * len(bands)) as (figure, axes):
        for k, (label, ends) in enumerate(bands.items()):
            numbers = list(range(1, len(ends[0]) + 1))
            _draw_band(axes, k, label, numbers, *((100 * end).tolist() for end in ends))
        canvas.draw_chance(axes, chance)
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

    # epochs and trials are whole numbers, and there may be only one
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    axes.set_xlabel(x_axis)
    axes.set_ylabel(y_axis)
    axes.grid(axis="y", color=GRID)
    figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=8)
    return canvas.save(figure, name, folder)
