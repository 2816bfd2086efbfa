"""Mean ranks over data sets and the critical difference (Demsar, JMLR 2006), if there are six or more data sets.

Rank 1 is the best row of a data set. Tied rows all get their mean rank. Two rows differ significantly if their mean
ranks differ by at least the critical difference of Nemenyi's test, q sqrt(k (k + 1) / (6 N)) for k rows on N data sets.
Lists of the same videos, such as the folds of HMDB51, count as one data set, and their values are averaged first.

N data sets, K rows.
"""

from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kinetext.report.estimates import Estimates
from kinetext.report.figures.ranks import rank_plot
from kinetext.report.keys import Comparison, RowKey, file_name, row_labels

MIN_DATASETS = 6  # with fewer, ranks of equal rows differ by chance alone


class Ranks(NamedTuple):
    """The mean ranks of rows, the best first, the critical difference of two ranks, and the number of data sets."""

    rank_by_key: dict[RowKey, float]
    critical: float
    datasets: int


def mean_ranks(values: dict[RowKey, list[float]], sources: list[str]) -> Ranks | None:
    """Return the mean ranks of rows; None for fewer than MIN_DATASETS sources or fewer than two rows.

    `values` has one value per data set for each row. `sources` names the videos of each data set.
    """
    from scipy.stats import rankdata, studentized_range

    positions: dict[str, list[int]] = defaultdict(list)
    for position, source in enumerate(sources):
        positions[source].append(position)
    if len(positions) < MIN_DATASETS or len(values) < 2:
        return None
    value_KD = np.array(list(values.values()))
    value_KN = np.stack([value_KD[:, of_source].mean(axis=1) for of_source in positions.values()], axis=1)
    rank_K = rankdata(-value_KN, axis=0).mean(axis=1)
    k, n = value_KN.shape
    critical = float(studentized_range.ppf(0.95, k, np.inf)) / 2**0.5 * (k * (k + 1) / (6 * n)) ** 0.5
    by_rank = sorted(zip(rank_K.tolist(), values, strict=True))
    return Ranks({key: rank for rank, key in by_rank}, critical, n)


def rank_section(
    estimates: Estimates, comparison: Comparison, tested: dict[str, Any] | None, metric: str, figures: Path
) -> dict[str, Any] | None:
    """Return the mean ranks that the page shows for a mean over data sets; None if there are none.

    `tested` is a row of the table `differences` for this comparison.
    """
    if tested is None or not tested.get("sources"):
        return None
    parts = [estimates[comparison._replace(dataset=name)][metric, "ordered"] for name in tested["pooled"]]
    keys = [key for key in estimates[comparison][metric, "ordered"] if all(key in part for part in parts)]
    ranks = mean_ranks({key: [part[key].value for part in parts] for key in keys}, tested["sources"])
    if ranks is None:
        return None
    labels = row_labels(ranks.rank_by_key)
    rank_by_label = {labels[key]: rank for key, rank in ranks.rank_by_key.items()}
    plot = rank_plot(f"mean-ranks-{file_name(comparison)}", rank_by_label, ranks.critical, figures)
    return {"plot": plot, "ranks": ranks, "metric": metric}
