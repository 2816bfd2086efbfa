"""What a comparison shows, in sentences: which rows are best, not better than chance, or did not learn.

No row is called best if no two rows differ significantly. The width of the intervals then shows how large a difference
these clips could have missed.
"""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from kinetext.evaluation.intervals import Estimate
from kinetext.evaluation.metrics import task_of
from kinetext.evaluation.paired import Difference
from kinetext.report.formats import count_of, format_percent, join_names
from kinetext.report.keys import RowKey

FEW_POINTS = 0.05  # half an interval of a difference; wider, and the page says that the clips cannot separate the rows
MAX_NAMED = 6  # rows
ROUNDING = 1e-9
VALIDATION_METRICS = {
    "classes": "val_top1",
    "labels": "val_map",
    "captions": "val_t2v_r1",
}  # metric on validation clips, by task
Differences = Mapping[tuple[RowKey, RowKey], Difference]  # of every two rows of a comparison


def verdict_sentences(
    metric: str, cells: Mapping[RowKey, Estimate], differences: Differences, unlearned: Iterable[RowKey] = ()
) -> list[str]:
    """Return what a comparison shows. `cells` are the estimates of `metric` by row, the highest first.

    `unlearned` are rows whose training did not learn (`did_not_learn`).
    """
    several = len({key.backbone for key in cells}) > 1
    names = {key: f"{key.method_title} with {key.texts}{f', {key.backbone}' if several else ''}" for key in cells}
    sentences = _best_sentences(metric, cells, differences, names)
    low = [key for key, cell in cells.items() if cell.chance is not None and cell.low <= cell.chance]
    chance = next((cell.chance for cell in cells.values() if cell.chance is not None), 0.0)
    if low and len(low) == len(cells):
        rows = "No row is" if len(low) > 1 else "It is not"
        sentences.append(f"{rows} significantly better than chance ({format_percent(chance)} %).")
    elif low:
        sentences.append(f"Not significantly better than chance ({format_percent(chance)} %): {_listed(names, low)}.")
    unlearned = [key for key in cells if key in set(unlearned)]
    if unlearned:
        rows, judged = _listed(names, unlearned), VALIDATION_METRICS[task_of(metric)].removeprefix("val_")
        sentences.append(f"Did not learn: {rows}; {judged} on validation clips was never above chance.")
    return sentences


def _best_sentences(
    metric: str, cells: Mapping[RowKey, Estimate], differences: Differences, names: Mapping[RowKey, str]
) -> list[str]:
    """Return sentences on which rows are best, or that no rows differ significantly."""
    keys = list(cells)
    best, others = keys[0], keys[1:]
    of_pairs = [difference for pair, difference in differences.items() if set(pair) <= set(keys)]
    weights = "" if all(difference.methods for difference in of_pairs) else " with these trained weights"
    if others and of_pairs and not any(difference.significant for difference in of_pairs):
        values = [cell.value for cell in cells.values()]
        ends = " to ".join(dict.fromkeys(format_percent(end) for end in (min(values), max(values)))) + " %"
        sentences = [f"No significant difference between the {len(keys)} rows{weights}: {metric} is {ends}."]
        half = median((difference.high - difference.low) / 2 for difference in of_pairs)
        if half > FEW_POINTS:
            clips = count_of(cells[best].clips, "clip")
            sentences.append(
                f"{clips} cannot separate them: a difference of about {100 * half:.0f} points could go unseen."
            )
        return sentences
    cell = cells[best]
    interval = f"[{format_percent(cell.low)}, {format_percent(cell.high)}]"
    basis = f"{count_of(cell.seeds, 'seed')}, {count_of(cell.clips, 'clip')}"
    sentences = [f"Highest {metric}: {names[best]}, {format_percent(cell.value)} % {interval} ({basis})."]
    from_best = {key: differences[key, best] for key in others if (key, best) in differences}
    equal = [key for key, difference in from_best.items() if not difference.significant]
    if equal:
        sentences.append(f"Not significantly different from it{weights}: {_listed(names, equal)}.")
    elif from_best and all(difference.value < 0 for difference in from_best.values()):
        some = len(from_best) < len(others)  # the other rows are not compared with it
        worse = f"Significantly worse{weights}: {_listed(names, list(from_best))}."
        sentences.append(worse if some else f"All other rows are significantly worse{weights}.")
    return sentences


def _listed(names: Mapping[RowKey, str], keys: Sequence[RowKey]) -> str:
    """Return the names of rows, at most MAX_NAMED of them, and the number of the others."""
    shown = [names[key] for key in keys[:MAX_NAMED]]
    return join_names(shown) if len(keys) <= MAX_NAMED else f"{', '.join(shown)} and {len(keys) - MAX_NAMED} more"


def did_not_learn(curves: Iterable[dict[str, Any]], task: str, top1_chance: float | None) -> bool:
    """Return whether no seed of a row was ever above chance on the validation clips, in the metric of the task.

    `curves` are the rows of the table `curves` for one row. The chance level is that recorded in training (`val_chance`).
    Runs of earlier versions recorded none; for recognition, `top1_chance` is used. Returns False without validation
    clips or chance level.
    """
    values: dict[str, list[float]] = {}
    for row in curves:
        if row["value"] is not None and row["value"] == row["value"]:
            values.setdefault(row["metric"], []).append(row["value"])
    recorded = values.get("val_chance", [top1_chance] if task == "classes" and top1_chance is not None else [])
    judged = values.get(VALIDATION_METRICS[task], [])
    return bool(recorded and judged) and max(judged) <= max(recorded) + ROUNDING
