"""The canvas of all figures of the report: style, size, the line at the chance level, and saving as SVG and PNG.

Figures are narrow, because a phone scales them down. Values of metrics are between 0 and 1 and are shown in percent.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kinetext.core.palette import GREY, INK

WIDTH_IN = 6.2


@contextmanager
def new_figure(height_in: float) -> Iterator[tuple[Any, Any]]:
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


def save(figure: Any, name: str, folder: Path) -> str:
    """Save the figure as PNG, for `snakemake --report`, and return it as SVG for the page."""
    import matplotlib as mpl

    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):  # ids differ between figures of a page, not between two renderings
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    figure.set_layout_engine("none")  # the PNG keeps the layout of the SVG
    figure.savefig(folder / f"{name}.png", dpi=160)
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :]


def draw_chance(axes: Any, chance: float | None) -> None:
    """Draw a dashed line at the chance level (0 to 1) in a plot of percentages."""
    if chance is not None:
        axes.axhline(100 * chance, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        right = axes.get_yaxis_transform()  # x as a share of the width, y in data
        axes.text(0.995, 100 * chance, "chance", transform=right, fontsize=8.5, ha="right", va="bottom")
