"""Mean ranks over data sets, and the trade-off between trained and novel classes."""

from pathlib import Path

from kinetext.core.palette import COLOURS, DASHES, GRID, INK
from kinetext.report.figures import canvas


def rank_plot(name: str, rank_by_label: dict[str, float], critical: float, folder: Path) -> str:
    """Plot mean ranks, the best on top. Returns SVG and writes {name}.png to `folder`.

    Bars connect rows whose ranks differ by less than the critical difference.
    """
    labels, ranks = list(rank_by_label), list(rank_by_label.values())
    with canvas.new_figure(1.2 + 0.3 * len(labels)) as (figure, axes):
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
        return canvas.save(figure, name, folder)


def trade_off_plot(name: str, curves: dict[str, list[list[tuple[float, float]]]], folder: Path) -> str:
    """Plot accuracy on novel classes over accuracy on trained classes. Returns SVG and writes {name}.png to `folder`.

    `curves` has the (seen, unseen) points of each seed of each row.
    """
    with canvas.new_figure(3.6 + 0.16 * len(curves)) as (figure, axes):
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
        return canvas.save(figure, name, folder)
