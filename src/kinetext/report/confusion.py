"""Matrix plot of the confusable classes, sorted so that groups of similar classes become visible.

Rows and columns are ordered by average-linkage clustering (Eisen et al. 1998) of the scores in the table `confusables`.
The table has only the first rivals of each class; other pairs are blank.

K classes.
"""

from pathlib import Path
from typing import Any

import numpy as np

from kinetext.core.tables import read_rows
from kinetext.report.figures.matrix import matrix_plot
from kinetext.report.sources import BACKBONE_RULES, RULES, ConfusablesFile

MAX_GROUPS = 12  # groups listed beside the picture
MAX_CLASSES = 60  # readable names; of more classes, the most confused groups are shown


def confusion_picture(file: ConfusablesFile, figures: Path) -> dict[str, Any] | None:
    """Return the matrix plot and the groups of one table, by the rule `features`, else `text`; None without either."""
    rows = read_rows("confusables", file.path)
    rule = next((rule for rule in BACKBONE_RULES if any(row["rule"] == rule for row in rows)), None)
    if rule is None:
        return None
    labels, scores_KK = score_matrix([row for row in rows if row["rule"] == rule])
    order, groups = cluster_classes(scores_KK)
    if len(order) > MAX_CLASSES:
        kept = set([k for group in groups for k in group][:MAX_CLASSES]) or set(order[:MAX_CLASSES])
        order = [k for k in order if k in kept]
    position = {k: at for at, k in enumerate(order)}
    spans = [(min(position[k] for k in group), len(group)) for group in groups if set(group) <= position.keys()]
    name = f"confusion-{file.dataset}-{file.protocol}-{file.backbone}"
    plot = matrix_plot(name, scores_KK[np.ix_(order, order)], [labels[k] for k in order], spans, figures)
    return {
        "title": f"{file.dataset}, {file.protocol}, {file.backbone}",
        "rule": RULES[rule],
        "classes": len(labels),
        "shown": len(order),
        "plot": plot,
        "groups": [[labels[k] for k in group] for group in groups[:MAX_GROUPS]],
        "more": max(0, len(groups) - MAX_GROUPS),
    }


def score_matrix(rows: list[dict[str, Any]]) -> tuple[list[str], np.ndarray]:
    """Return the classes of rows of `confusables` and their symmetric scores [K, K], the higher of both directions."""
    labels = sorted({row[key] for row in rows for key in ("label", "rival")})
    index = {label: k for k, label in enumerate(labels)}
    scores_KK = np.zeros((len(labels), len(labels)))
    for row in rows:
        a, b = index[row["label"]], index[row["rival"]]
        scores_KK[a, b] = scores_KK[b, a] = max(scores_KK[a, b], row["score"])
    return labels, scores_KK


def cluster_classes(scores_KK: np.ndarray, share: float = 0.1) -> tuple[list[int], list[list[int]]]:
    """Return an order of the classes with similar ones side by side, then the groups, the highest mean score first.

    Classes are merged into groups while their mean score is at least `share` of the highest score. Groups have at least
    two classes.
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

    def mean_score(group: list[int]) -> float:
        return float(scores_KK[np.ix_(group, group)].sum() / (len(group) * (len(group) - 1)))

    return order, sorted((group for group in members if len(group) > 1), key=lambda group: -mean_score(group))
