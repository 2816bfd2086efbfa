"""The pictures of one run, out of its predictions with the frames in order: which classes are taken for which, and how far
down the list the right answer stands. For one run beside others in MLflow; the report compares.

Colours are Okabe and Ito's. Clips B, classes or captions K, queries Q.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kinetext.evaluation.predictions import Predictions, read_predictions
from kinetext.evaluation.retrieval import owners, rank_queries

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
CONFUSED = ("test", "novel_among_all")
MOST_NAMES = 60  # classes whose names can be read
MOST_CLASSES = 1000  # over which a confusion matrix is a grey square


def draw_figures(predictions: Path) -> Iterator[tuple[str, Any]]:
    """File name and matplotlib figure: ranks.png, and confusion-{split}.png of the test clips and, where clips of novel
    classes are scored among all classes, of those.
    """
    ranks: dict[str, np.ndarray] = {}
    for (split, _), made in read_predictions(predictions, "ordered").items():
        if not made.captioned:
            ranks[split] = class_ranks(made)
            if split in CONFUSED and len(made.labels) <= MOST_CLASSES:
                yield f"confusion-{split}.png", _confusion_figure(made, split)
        else:
            found = rank_queries(made.scores_BK, owners(made))
            ranks |= {f"{split}, {way}": found[way].rank_Q for way in ("t2v", "v2t")}
    if ranks:
        yield "ranks.png", _rank_figure(ranks)


def class_ranks(predictions: Predictions) -> np.ndarray:
    """The rank of each clip's own class, 1 is best, rank_B; a tie is lost, and a clip without frames comes last, as in top1."""
    own_B1 = np.take_along_axis(predictions.scores_BK, predictions.target_B[:, None], axis=1)
    rank_B = (predictions.scores_BK >= own_B1).sum(1)
    return np.where(np.isnan(own_B1[:, 0]), len(predictions.labels), rank_B)


def confusion_matrix(predictions: Predictions) -> np.ndarray:
    """Share of each class's clips that are taken for each class, [K of the clips, K of the answers]; a row without clips is
    zero, clips without frames are left out.
    """
    K = len(predictions.labels)
    seen_B = ~np.isnan(predictions.scores_BK).any(1)
    answer_B = predictions.scores_BK[seen_B].argmax(1)
    counts_KK = np.zeros((K, K))
    np.add.at(counts_KK, (predictions.target_B[seen_B], answer_B), 1)
    return counts_KK / np.maximum(counts_KK.sum(1, keepdims=True), 1)


def _confusion_figure(predictions: Predictions, split: str) -> Any:
    labels, K = predictions.labels, len(predictions.labels)
    named = K <= MOST_NAMES
    edge_in = 0.5 + 0.065 * max(map(len, labels)) if named else 0.6  # for names of 7 points
    side_in = min(8.0, 1.5 + 0.16 * K)
    figure, axes = _figure(side_in, side_in, edge_in)
    axes.imshow(confusion_matrix(predictions), cmap="Blues", vmin=0, vmax=1)
    if named:
        axes.set_xticks(range(K), labels, rotation=90, fontsize=7)
        axes.set_yticks(range(K), labels, fontsize=7)
    axes.set_xlabel("taken for (white: no clip, dark blue: all of the class's clips)", fontsize=7)
    axes.set_title(f"{split}: {len(predictions)} clips, {K} classes", fontsize=8)
    return figure


def _rank_figure(ranks: dict[str, np.ndarray]) -> Any:
    figure, axes = _figure(5.0, 3.5, 0.6)
    longest = max(int(rank_Q.max()) for rank_Q in ranks.values())
    for n, (name, rank_Q) in enumerate(ranks.items()):
        rank_S = np.unique([1, *rank_Q, longest])
        share_S = [float(np.mean(rank_Q <= k)) for k in rank_S]
        style = {"color": COLOURS[n % len(COLOURS)], "linestyle": ("-", "--", ":")[n % 3]}
        axes.step(rank_S, share_S, where="post", label=name, **style)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("k")
    axes.set_ylabel("share answered among the first k")
    axes.grid(color="#eef0f2")
    axes.legend(frameon=False)
    return figure


def _figure(width_in: float, height_in: float, edge_in: float) -> tuple[Any, Any]:
    """A figure with axes of this size and room for their names on the left and below. Without a layout engine, which takes
    longer than the drawing: a run has three of these.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    whole = width_in + edge_in + 0.2, height_in + edge_in + 0.3
    figure = Figure(figsize=whole, dpi=110)
    FigureCanvasAgg(figure)  # no display, no global state
    place = (edge_in / whole[0], edge_in / whole[1], width_in / whole[0], height_in / whole[1])
    return figure, figure.add_axes(place)
