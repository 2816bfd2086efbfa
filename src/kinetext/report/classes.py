"""Accuracy by class and row, from the table `confusions`, and frames of clips that few runs classify correctly."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from kinetext.evaluation.intervals import INFINITE, Estimate, share_interval
from kinetext.report.gallery import frame_strip
from kinetext.report.keys import Comparison, RowKey, comparison_of, key_of, row_labels, sort_key
from kinetext.report.sources import DatasetFiles

MAX_CLASSES = 30  # in a table of the page
MAX_ROWS = 10  # columns of that table
Accuracies = dict[Comparison, dict[str, dict[RowKey, Estimate]]]  # comparison -> class -> row -> accuracy


def class_accuracies(confusions: Iterable[dict[str, Any]]) -> Accuracies:
    """Return the accuracy of each row on each class, averaged over seeds.

    The interval is Jeffreys' interval for the clips of the class, each counted as a group. It is about the trained
    weights.
    """
    seeds: dict[Any, dict[int, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))
    for row in confusions:
        counts = seeds[comparison_of(row), row["label"], key_of(row)][row["seed"]]
        counts[0] += row["clips"] * (row["label"] == row["predicted"])
        counts[1] += row["clips"]
    accuracies: Accuracies = defaultdict(lambda: defaultdict(dict))
    for (comparison, label, key), by_seed in seeds.items():
        shares = [right / clips for right, clips in by_seed.values()]
        value, clips = sum(shares) / len(shares), max(clips for _, clips in by_seed.values())
        low, high = share_interval(value, value * (1 - value) / clips, INFINITE, clips)
        accuracies[comparison][label][key] = Estimate(
            value=value, low=low, high=high, least=min(shares), most=max(shares), seeds=len(shares), clips=clips
        )
    return accuracies


def class_tables(accuracies: Accuracies, order: dict[Comparison, list[RowKey]]) -> list[dict[str, Any]]:
    """Return a table for each comparison: the classes of the lowest mean accuracy by the first rows in `order`."""
    tables = []
    for comparison in sorted(accuracies, key=sort_key):
        if comparison.split.endswith("_among_all"):
            continue
        classes, keys = accuracies[comparison], order[comparison][:MAX_ROWS]
        labels = sorted(classes, key=lambda label: (_mean(classes[label].values()), label))
        tables.append(
            {
                "comparison": comparison,
                "columns": list(row_labels(keys).values()),
                "more_rows": len(order[comparison]) - len(keys),
                "classes": {label: [classes[label].get(key) for key in keys] for label in labels[:MAX_CLASSES]},
                "num_classes": len(labels),
            }
        )
    return tables


def class_rows(accuracies: Accuracies) -> Iterator[dict[str, Any]]:
    """Yield one CSV row for each class and each row of a comparison."""
    for comparison, classes in accuracies.items():
        for label, cells in classes.items():
            for key, cell in cells.items():
                numbers = {name: getattr(cell, name) for name in ("value", "low", "high", "seeds", "clips")}
                yield {**comparison._asdict(), "label": label, **key._asdict(), **numbers}


def _mean(cells: Iterable[Estimate]) -> float:
    values = [cell.value for cell in cells]
    return sum(values) / len(values)


def hard_clip_strips(
    rows: Sequence[dict[str, Any]],
    datasets: Sequence[DatasetFiles],
    clips: dict[str, list[dict[str, Any]]],
    number: int,
) -> list[dict[str, Any]]:
    """Return the frames of up to `number` hard clips for each comparison on the split `test`.

    `rows` are those of the table `hard_clips`. `clips` has the rows of the table `clips` by data set. Clips without
    frames are skipped.
    """
    shown: dict[Comparison, list[dict[str, Any]]] = defaultdict(list)
    shards = {dataset.name: {shard.stem: shard for shard in dataset.shards} for dataset in datasets}
    shard_of = {name: {row["clip_id"]: row["shard"] for row in of_set} for name, of_set in clips.items()}
    for row in rows:
        comparison = comparison_of(row)
        if comparison.split != "test" or len(shown[comparison]) >= number or row["predicted"] is None:
            continue
        name = row["dataset"]
        shard = shards.get(name, {}).get(shard_of.get(name, {}).get(row["clip_id"], ""))
        frames = frame_strip(row["clip_id"], shard) if shard is not None else []
        if frames:
            shown[comparison].append({**row, "frames": frames})
    return [{"comparison": comparison, "clips": some} for comparison, some in shown.items() if some]
