"""Draw figures of one run for MLflow, from its predictions with ordered frames: confusion matrices and ranks.

The report compares runs; these figures show a single run. Colours of Okabe and Ito. B clips, K classes or captions, Q
queries.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kinetext.core.palette import COLOURS, GRID
from kinetext.evaluation.predictions import Predictions, predicted_classes, read_predictions
from kinetext.evaluation.retrieval import caption_clips, rank_queries

AMONG_ALL = ("test_among_all", "novel_among_all")  # clips of trained and of novel classes, scored among all classes
MAX_NAMED = 60  # classes whose names are legible
MAX_CLASSES = 1000  # a confusion matrix of more classes is a uniform grey


def draw_figures(predictions: Path) -> Iterator[tuple[str, Any]]:
    """Yield pairs of a file name and a matplotlib figure: ranks.png, confusion-test.png and confusion-among_all.png.

    The second confusion matrix is drawn if there are novel classes: all test clips, scored among all classes.
    Multi-label data sets have no figures.
    """
    ranks: dict[str, np.ndarray] = {}
    confusions: dict[str, list[Predictions]] = {}
    for (split, _), sample in read_predictions(predictions, "ordered").items():
        if sample.multi_label:
            continue  # neither a confused class nor one right class
        if not sample.captioned:
            ranks[split] = class_ranks(sample)
            if split in ("test", *AMONG_ALL) and len(sample.labels) <= MAX_CLASSES:
                confusions.setdefault("among_all" if split in AMONG_ALL else split, []).append(sample)
        else:
            by_direction = rank_queries(sample.scores_BK, caption_clips(sample))
            ranks |= {f"{split}, {way}": by_direction[way].rank_Q for way in ("t2v", "v2t")}
    for name, samples in confusions.items():
        yield f"confusion-{name}.png", _confusion_figure(_joined(samples), name.replace("_", " "))
    if ranks:
        yield "ranks.png", _rank_figure(ranks)


def _joined(samples: list[Predictions]) -> Predictions:
    """Return the predictions of several splits with the same classes as one, without what is known of single clips."""
    scores_BK = np.concatenate([sample.scores_BK for sample in samples])
    target_B = np.concatenate([sample.target_B for sample in samples])
    return replace(samples[0], scores_BK=scores_BK, target_B=target_B, clip_ids=None, group_B=None, kind_B=None)


def class_ranks(predictions: Predictions) -> np.ndarray:
    """Return the rank of the correct class of each clip [B], from 1.

    As in top1, classes with an equal score rank before the correct class. A clip without frames has the last rank.
    """
    return np.minimum(predictions.rank_B, len(predictions.labels))


def confusion_matrix(predictions: Predictions) -> np.ndarray:
    """Return the confusion matrix [K true, K predicted]; each row is divided by the number of its clips.

    As in top1, a clip whose correct class ties with another counts as the other. Clips without frames are left out. The
    row of a class without clips is zero.
    """
    K = len(predictions.labels)
    predicted_B = predicted_classes(predictions)
    has_frames_B = predicted_B >= 0
    counts_KK = np.zeros((K, K))
    np.add.at(counts_KK, (predictions.target_B[has_frames_B], predicted_B[has_frames_B]), 1)
    return counts_KK / np.maximum(counts_KK.sum(1, keepdims=True), 1)


def _confusion_figure(predictions: Predictions, title: str) -> Any:
    labels, K = predictions.labels, len(predictions.labels)
    named = K <= MAX_NAMED
    margin_in = 0.5 + 0.065 * max(map(len, labels)) if named else 0.6  # for names in 7 points
    side_in = min(8.0, 1.5 + 0.16 * K)
    figure, axes = _figure(side_in, side_in, margin_in)
    axes.imshow(confusion_matrix(predictions), cmap="Blues", vmin=0, vmax=1)
    if named:
        axes.set_xticks(range(K), labels, rotation=90, fontsize=7)
        axes.set_yticks(range(K), labels, fontsize=7)
        axes.tick_params(length=0)
        for text in [*axes.get_xticklabels(), *axes.get_yticklabels()]:
            text.set_parse_math(False)  # a class may be named `$$`
    # a place that is given saves two searches among the boxes of all names, half of the drawing time
    axes.set_xlabel("predicted class (white: no clip, dark blue: all clips of the class)", fontsize=7)
    axes.xaxis.set_label_coords(0.5, (0.2 - margin_in) / side_in, transform=axes.transAxes)
    axes.set_title(f"{title}: {len(predictions)} clips, {K} classes", fontsize=8, y=1.01)
    return figure


def _rank_figure(ranks: dict[str, np.ndarray]) -> Any:
    figure, axes = _figure(5.0, 3.5, 0.6)
    max_rank = max(int(rank_Q.max()) for rank_Q in ranks.values())
    for n, (name, rank_Q) in enumerate(ranks.items()):
        rank_S = np.unique([1, *rank_Q, max_rank])
        share_S = [float(np.mean(rank_Q <= k)) for k in rank_S]
        style = {"color": COLOURS[n % len(COLOURS)], "linestyle": ("-", "--", ":")[n % 3]}
        axes.step(rank_S, share_S, where="post", label=name, **style)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("k")
    axes.set_ylabel("share with the right answer in the top k")
    axes.grid(color=GRID)
    axes.legend(frameon=False)
    return figure


def _figure(width_in: float, height_in: float, margin_in: float) -> tuple[Any, Any]:
    """Return a figure and its axes. The axes have this size and a margin for labels on the left and below.

    The layout is computed here, because matplotlib's layout engines take longer than the drawing.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size_in = width_in + margin_in + 0.2, height_in + margin_in + 0.3
    figure = Figure(figsize=size_in, dpi=110)
    FigureCanvasAgg(figure)  # no display, no global state
    rectangle = (margin_in / size_in[0], margin_in / size_in[1], width_in / size_in[0], height_in / size_in[1])
    return figure, figure.add_axes(rectangle)
