"""Cost of training and testing beside accuracy, from the table `costs`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kinetext.evaluation.intervals import Estimate
from kinetext.report.estimates import chance_of
from kinetext.report.figures.cost import cost_plot
from kinetext.report.formats import count_of
from kinetext.report.keys import Comparison, RowKey, file_name, key_of, method_names

AXES = {  # column of the table `costs` -> label of the axis
    "train_seconds": "training time, seconds",
    "gflops_per_clip": "GFLOPs per test clip",
    "trained_parameters": "trained parameters",
    "new_parameters": "new parameters",
    "train_peak_mib": "peak memory of the training, MiB",
    "predict_peak_mib": "peak memory of the prediction, MiB",
    "predict_clips_per_s": "clips predicted per second",
    "requests_per_clip": "requests per test clip",
    "prompt_tokens_per_clip": "tokens sent per test clip",
    "answer_tokens_per_clip": "tokens answered per test clip",
    "usd_per_clip": "USD per test clip",
}


def cost_section(
    comparison: Comparison,
    keys: list[RowKey],
    main: dict[RowKey, Estimate],
    costs: list[dict[str, Any]],
    axes: Sequence[str],
    accuracy: str,
    figures: Path,
) -> dict[str, Any] | None:
    """Return the costs of the runs of each row, and a plot of accuracy over each column in `axes` that has values.

    `costs` are the rows of the table `costs` that belong to the comparison. None if there are no costs, and for splits
    other than `test`, because their runs are those of `test`.
    """
    if comparison.split != "test" or not costs:
        return None
    runs_of: dict[RowKey, list[dict[str, Any]]] = {key: [] for key in keys}
    for run in costs:
        runs_of.get(key_of(run), []).append(run)
    cells = {key: _cells(runs) for key, runs in runs_of.items()}
    methods, plots, chance = method_names(keys), [], chance_of(main.values())
    for column in axes:
        points = [
            (methods[key], key.texts, sum(values) / len(values), main[key])
            for key in keys
            if (values := cells[key][column])
        ]
        if points:
            name = f"cost-{column}-{file_name(comparison)}"
            plots.append(cost_plot(name, points, f"{AXES[column]}, mean over seeds", accuracy, figures, chance))
    return {"rows": cells, "plots": plots}


def _cells(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the values of all runs of a row by column, and the devices that were used for training."""
    devices = sorted({f"{run['device']}, {count_of(run['threads'], 'thread')}" for run in runs if run["device"]})
    values = {column: [run[column] for run in runs if run[column] is not None] for column in AXES}
    return {**values, "device": "; ".join(devices)}


def answer_sentences(runs: list[dict[str, Any]], keys: set[RowKey]) -> list[str]:
    """Return a sentence for each run whose answers come from a model behind an API (table `runs`, `answers`)."""
    answered = [run for run in runs if run["answers"] and key_of(run) in keys]
    return [f"{run['method']}, {run['texts']}, seed {run['seed']}: {run['answers']}" for run in answered]
