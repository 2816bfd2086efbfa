"""The matrix of confusable classes."""

from pathlib import Path

import numpy as np

from kinetext.core.palette import COLOURS
from kinetext.report.figures import canvas

CLASSES_LARGE_TYPE = 25  # class names up to which the matrix uses large type


def matrix_plot(
    name: str, scores_KK: np.ndarray, labels: list[str], groups: list[tuple[int, int]], folder: Path
) -> str:
    """Plot a matrix of scores as squares, darker for higher scores. Returns SVG and writes {name}.png to `folder`.

    `groups` are outlined; each is (index of the first class, size). The names of up to 60 classes are readable.
    """
    from matplotlib.patches import Rectangle

    count = len(labels)
    side_in = 4.2 if count <= CLASSES_LARGE_TYPE else canvas.WIDTH_IN - 1.6
    with canvas.new_figure(side_in + 1.4) as (figure, axes):
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
        return canvas.save(figure, name, folder)
