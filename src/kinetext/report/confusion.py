"""The picture of which classes are taken for each other: classes side by side that are confused, so that blocks are seen.

Rows and columns are ordered by average-linkage clustering (the ordering of Eisen et al. 1998 for matrices) of the scores in
the table `confusables`, which has each class's first rivals only: what is blank was not among them.
"""

from pathlib import Path
from typing import Any

import numpy as np

from kinetext.core.tables import read_rows
from kinetext.report.figures import block_plot
from kinetext.report.material import MINED, RULES, Mined

MOST_BLOCKS = 12  # blocks named beside the picture
MOST_CLASSES = 60  # whose names can be read; of more, the most confused blocks are shown


def confusion_picture(mined: Mined, figures: Path) -> dict[str, Any] | None:
    """The picture and the blocks of one table, of the rule `features` or else `text`; None for a table without either."""
    dataset, protocol, backbone, path = mined
    rows = read_rows("confusables", path)
    rule = next((rule for rule in MINED if any(row["rule"] == rule for row in rows)), None)
    if rule is None:
        return None
    labels, scores_KK = score_matrix([row for row in rows if row["rule"] == rule])
    order, blocks = find_blocks(scores_KK)
    named = [[labels[k] for k in block] for block in blocks]
    if len(order) > MOST_CLASSES:
        first = set([k for block in blocks for k in block][:MOST_CLASSES]) or set(order[:MOST_CLASSES])
        order = [k for k in order if k in first]
    place = {k: at for at, k in enumerate(order)}
    spans = [(min(place[k] for k in block), len(block)) for block in blocks if set(block) <= place.keys()]
    name = f"confusion-{dataset}-{protocol}-{backbone}"
    plot = block_plot(name, scores_KK[np.ix_(order, order)], [labels[k] for k in order], spans, figures)
    return {
        "title": f"{dataset}, {protocol}, {backbone}",
        "rule": RULES[rule],
        "classes": len(labels),
        "shown": len(order),
        "plot": plot,
        "blocks": named[:MOST_BLOCKS],
        "more": max(0, len(named) - MOST_BLOCKS),
    }


def score_matrix(rows: list[dict[str, Any]]) -> tuple[list[str], np.ndarray]:
    """The classes of rows of `confusables`, and their scores [K, K], symmetric: a pair counts if either names the other."""
    labels = sorted({row[key] for row in rows for key in ("label", "rival")})
    index = {label: k for k, label in enumerate(labels)}
    scores_KK = np.zeros((len(labels), len(labels)))
    for row in rows:
        a, b = index[row["label"]], index[row["rival"]]
        scores_KK[a, b] = scores_KK[b, a] = max(scores_KK[a, b], row["score"])
    return labels, scores_KK


def find_blocks(scores_KK: np.ndarray, share: float = 0.1) -> tuple[list[int], list[list[int]]]:
    """An order of the classes that puts confused ones side by side, and the blocks in it: groups of at least two classes
    whose mean score is over `share` of the highest, the most confused first.
    """
    from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
    from scipy.spatial.distance import squareform

    highest = scores_KK.max()
    if len(scores_KK) < 2 or highest <= 0:
        return list(range(len(scores_KK))), []
    distance_KK = 1 - np.maximum(scores_KK, 0) / highest
    np.fill_diagonal(distance_KK, 0)
    tree = linkage(squareform(distance_KK, checks=False), "average", optimal_ordering=len(scores_KK) <= 100)
    order = leaves_list(tree).tolist()
    number_K = fcluster(tree, 1 - share, "distance")
    members = [[k for k in order if number_K[k] == number] for number in dict.fromkeys(number_K[order].tolist())]

    def mean_score(block: list[int]) -> float:
        return float(scores_KK[np.ix_(block, block)].sum() / (len(block) * (len(block) - 1)))

    return order, sorted((block for block in members if len(block) > 1), key=lambda block: -mean_score(block))
