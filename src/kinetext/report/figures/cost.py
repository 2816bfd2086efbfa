"""Accuracy over a cost, such as seconds of training or GFLOPs per clip."""

import math
from pathlib import Path
from typing import Any

from kinetext.core.palette import COLOURS, GRID, INK, MARKERS, MUTED
from kinetext.evaluation.intervals import Estimate
from kinetext.report.figures import canvas


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
    with canvas.new_figure(max(3.6, 0.3 * (len(methods) + len(texts)))) as (figure, axes):
        for method, text, amount, estimate in points:
            style = {"color": COLOURS[methods.index(method) % len(COLOURS)]}
            axes.plot([amount] * 2, [100 * estimate.low, 100 * estimate.high], linewidth=1.4, alpha=0.55, **style)
            marker = MARKERS[texts.index(text) % len(MARKERS)]
            axes.plot([amount], [100 * estimate.value], marker, markersize=7, markeredgecolor=edges[method], **style)
        canvas.draw_chance(axes, chance)
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
        return canvas.save(figure, name, folder)


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
