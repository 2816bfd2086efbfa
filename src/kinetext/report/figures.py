"""The pictures of the report: dot plots with intervals (Cleveland 1984), cost, learning curves, frames of example clips.

One drawing function serves every comparison, so that all of them read alike. Colours are Okabe and Ito's, which
colour-blind readers can tell apart, and no meaning hangs on colour alone: each has its own marker. Figures are narrow,
for a phone scales them down.
"""

import base64
import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from kinetext.core.tables import open_shard
from kinetext.data.frames import decode_image, encode_image

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#444444")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
WIDTH_IN = 6.2
GREY, INK = "#c9ccd1", "#22262b"


@dataclass(frozen=True)
class Estimate:
    """A number with its interval: the mean over seeds of value, low and high, and the range of value over seeds. Of several
    data sets: the mean over them, and the range over them. The unit is that of the metric.
    """

    value: float
    low: float
    high: float
    least: float
    most: float
    seeds: int
    clips: int
    datasets: int = 1
    unit: str = "share"
    higher_is_better: bool = True


def amount(value: float, unit: str) -> str:
    """Return a value as it is shown: a share in percent, a rank with one decimal, a number with three digits."""
    if unit == "share":
        return f"{round(100 * value, 1) + 0.0:.1f}"
    return f"{value:.1f}" if unit == "rank" else f"{value:.3g}"


Row = tuple[str, list[tuple[str, Estimate | None]]]  # what the line is called; its points with the key of each


def dot_plot(
    name: str,
    rows: list[Row],
    axis: str,
    folder: Path,
    line: tuple[float, str] | None = None,
    keys: Sequence[str] = (),
) -> str:
    """One line per row, one point with its interval per key, a thin tick at the lowest and highest seed; as SVG.

    `line` is a reference value with what it means. `keys` fixes the keys' colours, so that figures agree on them. Values are fractions, shown in percent. The picture is also
    written to `folder` as {name}.png.
    """
    keys = list(dict.fromkeys([*keys, *(key for _, points in rows for key, _ in points)]))
    several = max(len(points) for _, points in rows) > 1
    height_in = 0.75 + len(rows) * (0.2 + 0.14 * len(keys) if several else 0.3) + (0.35 if several else 0)
    with _figure(height_in) as (figure, axes):
        for y, (_, points) in enumerate(rows):
            if y:
                axes.axhline(y - 0.5, color="#eef0f2", linewidth=0.8, zorder=0)
            for at, (key, estimate) in enumerate(points):
                if estimate is None:
                    continue
                k = keys.index(key)
                style = {"color": COLOURS[k % len(COLOURS)], "zorder": 3}
                where = y + (0.7 * ((at + 0.5) / len(points) - 0.5) if several else 0)
                axes.plot([100 * estimate.low, 100 * estimate.high], [where] * 2, linewidth=1.8, **style)
                marker = MARKERS[k % len(MARKERS)]
                axes.plot([100 * estimate.value], [where], marker, markersize=6, markeredgecolor="white", **style)
                if estimate.least < estimate.most:
                    ends = [100 * estimate.least, 100 * estimate.most]
                    axes.plot(ends, [where] * 2, "|", markersize=6, color=INK, zorder=4, markeredgewidth=0.8)
        if several:
            _legend(figure, axes, keys)
        if line:
            axes.axvline(100 * line[0], color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
            above = axes.get_xaxis_transform()  # x in data, y as a share of the height
            axes.text(100 * line[0], 1.01, line[1], transform=above, fontsize=8.5, ha="center", va="bottom")
        axes.set_yticks(range(len(rows)), [label for label, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel(axis)
        axes.tick_params(axis="y", length=0)
        return _written(figure, name, folder)


def cost_plot(name: str, points: list[tuple[str, str, float, Estimate]], axis: str, folder: Path) -> str:
    """Accuracy over training seconds, as SVG: points of (method, texts, seconds, accuracy); colour, and past the last
    colour a dark edge, is the method, marker the texts. Zero seconds means not trained, so the scale is linear up to one second, then logarithmic.
    """
    methods, texts = sorted({point[0] for point in points}), sorted({point[1] for point in points})
    edges = {method: "white" if i < len(COLOURS) else INK for i, method in enumerate(methods)}
    with _figure(max(3.6, 0.3 * (len(methods) + len(texts)))) as (figure, axes):
        for method, text, seconds, estimate in points:
            style = {"color": COLOURS[methods.index(method) % len(COLOURS)]}
            axes.plot([seconds] * 2, [100 * estimate.low, 100 * estimate.high], linewidth=1.4, alpha=0.55, **style)
            marker = MARKERS[texts.index(text) % len(MARKERS)]
            axes.plot([seconds], [100 * estimate.value], marker, markersize=7, markeredgecolor=edges[method], **style)
        axes.set_xscale("symlog", linthresh=1.0, linscale=0.4)
        slowest = max(point[2] for point in points)
        axes.set_xlim(-0.3, max(2.0, slowest * 2))
        decades = [10.0**power for power in range(math.ceil(math.log10(max(2.0, slowest * 2))))]
        axes.set_xticks([0.0, *decades], ["0", *(f"{tick:g}" for tick in decades)])
        axes.minorticks_off()
        axes.grid(axis="y", color="#eef0f2")
        axes.set_xlabel("training time in seconds, one seed")
        axes.set_ylabel(axis)
        handles = [
            axes.plot([], [], "o", color=COLOURS[i % len(COLOURS)], markeredgecolor=edges[m], label=m)[0]
            for i, m in enumerate(methods)
        ]
        handles += [
            axes.plot([], [], MARKERS[i % len(MARKERS)], color="#999999", label=t)[0] for i, t in enumerate(texts)
        ]
        axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)
        return _written(figure, name, folder)


def curve_plot(name: str, curves: dict[str, list[list[tuple[float, float]]]], axis: str, folder: Path) -> str:
    """Lines over epochs, as SVG: `curves` has for each row of a comparison the (epoch, value) of each seed. The line is the
    mean over seeds, the area reaches from the lowest to the highest. Rows differ in colour and in the dashes of their line.
    """
    with _figure(3.2 + 0.16 * len(curves)) as (figure, axes):
        for k, (row, seeds) in enumerate(curves.items()):
            values: dict[float, list[float]] = {}
            for epoch, value in (point for seed in seeds for point in seed):
                values.setdefault(epoch, []).append(value)
            epochs = sorted(values)
            style = {"color": COLOURS[k % len(COLOURS)]}
            means = [sum(values[epoch]) / len(values[epoch]) for epoch in epochs]
            dashes = DASHES[k // len(COLOURS) % len(DASHES)]
            marker = {"marker": MARKERS[k % len(MARKERS)], "markersize": 4, "markevery": max(1, len(epochs) // 8)}
            axes.plot(epochs, means, linestyle=dashes, linewidth=1.5, label=row, **marker, **style)
            ends = [[end(values[epoch]) for epoch in epochs] for end in (min, max)]
            axes.fill_between(epochs, *ends, alpha=0.12, linewidth=0, **style)
        axes.set_xlabel("epoch")
        axes.set_ylabel(axis)
        axes.grid(axis="y", color="#eef0f2")
        figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=8)
        return _written(figure, name, folder)


def block_plot(name: str, scores_KK: Any, labels: list[str], blocks: list[tuple[int, int]], folder: Path) -> str:
    """A matrix of scores as squares, darker where higher, as SVG; blocks of (first class, how many) are outlined. The names
    of up to 60 classes can be read.
    """
    from matplotlib.patches import Rectangle

    count = len(labels)
    side_in = 4.2 if count <= 25 else WIDTH_IN - 1.6
    with _figure(side_in + 1.4) as (figure, axes):
        first, second = scores_KK.nonzero()
        share = scores_KK[first, second] / scores_KK.max()
        side_pt = 0.8 * 72 * side_in / count
        colours = [(0.0, 0.447, 0.698, 0.12 + 0.88 * max(0.0, float(x))) for x in share]
        axes.scatter(second, first, s=side_pt**2, c=colours, marker="s", linewidths=0)
        for start, size in blocks:
            corner = (start - 0.5, start - 0.5)
            axes.add_patch(Rectangle(corner, size, size, fill=False, edgecolor=COLOURS[1], linewidth=0.8))
        axes.set_xlim(-0.5, count - 0.5)
        axes.set_ylim(count - 0.5, -0.5)
        axes.set_aspect("equal")
        size_pt = 9 if count <= 25 else 6
        axes.set_yticks(range(count), labels, fontsize=size_pt)
        axes.set_xticks(range(count), labels, fontsize=size_pt, rotation=90)
        axes.tick_params(length=0)
        return _written(figure, name, folder)


def frame_strip(clip_id: str, shard: Path, most: int = 8) -> list[str]:
    """The frames of a clip in order as data URIs, at most `most` of them evenly picked; empty if it has none."""
    table = open_shard("frames", shard)
    found = table.filter(pc.equal(table["clip_id"], clip_id)).to_pylist()
    images = (found[0]["images"] or []) if found else []
    count = min(most, len(images))
    picked = [images[round(i * (len(images) - 1) / max(1, count - 1))] for i in range(count)]
    return ["data:image/jpeg;base64," + base64.b64encode(_jpeg(image)).decode() for image in picked]


def _jpeg(image: bytes) -> bytes:
    """The image as JPEG, whatever it was stored as."""
    return encode_image(decode_image(image), "jpeg", 95)


def _legend(figure: Any, axes: Any, keys: list[str]) -> None:
    """What each marker means, above the plot."""
    shape = [{"color": COLOURS[k % len(COLOURS)], "marker": MARKERS[k % len(MARKERS)]} for k in range(len(keys))]
    handles = [axes.plot([], [], linewidth=1.8, label=key, **style)[0] for key, style in zip(keys, shape, strict=True)]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(4, len(keys)), frameon=False, fontsize=9)


@contextmanager
def _figure(height_in: float) -> Iterator[tuple[Any, Any]]:
    """A figure in the report's style; no display and no global state but the style, which is put back."""
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
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure, figure.add_subplot()


def _written(figure: Any, name: str, folder: Path) -> str:
    """Save the figure as PNG, for `snakemake --report`, and return it as SVG to stand inside HTML."""
    import matplotlib as mpl

    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png", dpi=160)
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):  # ids differ between figures of one page, and not between two runs
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :]
