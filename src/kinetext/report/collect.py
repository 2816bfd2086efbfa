"""Collect the tables of all runs: `kinetext collect-metrics`. `core/collected.py` declares their columns.

- `metrics`, `curves`, `texts`: the tables of the runs and their text sets, in long form.
- `runs`, `costs`: one row per run with its options, and one with its cost.
- `confusions`: number of clips by class and predicted class (run_outcomes.py).
- `risk_coverage`: error rate among the most confident clips (run_outcomes.py).
- `hard_clips`: the clips of each comparison that the fewest runs classify correctly (hard_clips.py).
- `tuning`: all trials of tuned methods.
- `differences`: every row of a comparison minus every other row, tested on the same clips (differences.py).
- `clip_variances`: the part of the variance of means over seeds that is due to clips (variances.py).
- `seen_unseen`: accuracy on trained classes over accuracy on novel classes (evaluation/seen_unseen.py).

A thousand runs take seconds (benchmarks/collect.py), because each file is read once, into Arrow and numpy columns.
"""

import csv
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from kinetext.config.run import RunSpec
from kinetext.core.collected import COLLECTED, MEASURED_RULES, TEST_COSTS, TRAINING_COSTS
from kinetext.core.tables import read_rows, read_table, write_table
from kinetext.evaluation.calibration import read_calibration
from kinetext.evaluation.class_sizes import describe_groups
from kinetext.report.differences import compared_outcomes, difference_rows
from kinetext.report.draws import add_draws
from kinetext.report.hard_clips import HardClips
from kinetext.report.outcomes import Outcomes
from kinetext.report.read_runs import Run, concatenate, read_runs, with_columns
from kinetext.report.variances import variance_rows

NEW = ("clip_variances", "seen_unseen", "hard_clips", "risk_coverage")  # files that tables of an earlier version lack


def collect_metrics(folders: list[Path], results: Path, output: Path, processes: int = 1) -> None:
    """Read run folders; write the tables COLLECTED into the folder `output`.

    Only the folders passed are read, so runs of an earlier configuration in the results folder are left out. Text sets
    and Snakemake's benchmarks are read from the folder `results`. What is missing there is null or left out. The
    runs are read by `processes` processes. Raises ValueError if a run has not been measured.
    """
    unmeasured = [str(folder) for folder in folders if not (folder / "metrics.parquet").is_file()]
    if unmeasured:
        raise ValueError(f"{unmeasured[0]}: metrics.parquet is missing; run `kinetext measure-run` for it first")
    parts = read_runs(list(dict.fromkeys(folders)), results, processes)
    runs = [run for part in parts for run in part.runs]
    texts = {path: run.spec for run in runs if (path := run.texts(results)).is_file()}
    outcomes, hard_clips = Outcomes(), HardClips()
    for run in runs:
        outcomes.add(run.spec, run.outcomes.measured)
        for comparison, clips in run.outcomes.clips:
            hard_clips.add(comparison, clips)
        run.outcomes.measured.clear()  # they have further copies of the clip ids
        run.outcomes.clips.clear()
    measured = add_draws(outcomes.measured)
    with ThreadPoolExecutor(1) as thread:  # the tests are matrix products, which need no GIL
        differences = thread.submit(difference_rows, compared_outcomes(measured), outcomes.sources)
        tables: dict[str, Any] = {
            "costs": [_cost_row(run, results) for run in runs],
            "runs": [_run_row(run) for run in runs],
            "texts": _texts(texts),
            "hard_clips": hard_clips.rows(),
            "clip_variances": variance_rows(measured),
            "seen_unseen": [row for run in runs for row in run.outcomes.seen_unseen],
            "tuning": _tuning(runs, results),
            **{name: concatenate(COLLECTED[name], [part.tables[name] for part in parts]) for name in parts[0].tables},
        }
        for file, rows in tables.items():
            write_table(COLLECTED[file], rows, output / f"{file}.parquet")
        write_table("differences", differences.result(), output / "differences.parquet")


def read_tables(tables: Path) -> dict[str, list[dict[str, Any]]]:
    """Read the tables that the report needs from the output of `collect_metrics`.

    Raises ValueError for tables of an earlier version, which have no corrected tests or no backbones.
    """
    paths = {file: tables / f"{file}.parquet" for file in COLLECTED if file != "texts"}
    rows = {
        file: read_rows(COLLECTED[file], path) if path.is_file() or file not in NEW else []
        for file, path in paths.items()
    }
    if any(row["corrected_p"] is None or row["backbone"] is None for row in rows["differences"]):
        raise ValueError(
            f"{tables}/differences.parquet: is of an earlier version; run `kinetext collect-metrics` again"
        )
    return rows


def _run_row(run: Run) -> dict[str, Any]:
    """Return one row of the table `runs`."""
    spec, predicted = run.spec, run.outcomes.metadata
    calibration = read_calibration(predicted.get("calibration"))
    groups = describe_groups(np.array(list(predicted.get("train_clips", {}).values()), int))
    return {
        **run.columns(),
        "method_module": spec.method_module,
        "method_options": json.dumps(spec.method_options, sort_keys=True),
        "training": spec.training.model_dump_json(),
        **{f"test_{key}": value for key, value in spec.testing.model_dump().items()},
        "temperature": None if calibration.reason else calibration.temperature,
        "calibration": calibration.sentence(),
        "class_groups": json.dumps(groups) if groups else None,
        "trials": spec.tuning.trials if spec.tuning else None,
        "rungs": len(spec.tuning.rungs) if spec.tuning else None,
        "answers": answers_sentence(predicted.get("answers")),
        "fingerprint": spec.fingerprint,
        "commit": _read_json(run.folder / "cost.json").get("commit"),
    }


def answers_sentence(answers: dict[str, Any] | None) -> str | None:
    """Return a sentence on the answers of a model behind an API, from the metadata of the predictions; None: none."""
    if answers is None:
        return None
    models = f"{', '.join(answers['models']) or 'no model'} answered"
    unusable, asked = answers["unusable"], answers["asked"]
    if not unusable:
        return f"{models}; all {asked} answers could be used"
    named = "; ".join(f"{clip_id}: {note}" for clip_id, note in answers["first"])
    more = f"; and {unusable - len(answers['first'])} more" if unusable > len(answers["first"]) else ""
    return f"{models}; {unusable} of {asked} answers could not be used and count as wrong ({named}{more})"


def _cost_row(run: Run, results: Path) -> dict[str, Any]:
    """Return one row of the table `costs`.

    If the run tests the method of another run (`trained_on`), the cost of training is that of the other run.
    """
    folder = run.folder if run.spec.trained_on is None else results / "runs" / run.spec.trained_on
    predicted = run.outcomes.metadata
    cost = predicted.get("cost", {}) | _read_json(folder / "cost.json")
    counted = {column: cost.get(column) for column, _, _ in (*TRAINING_COSTS, *TEST_COSTS)}
    jobs: dict[str, float | None] = {}
    for rule in MEASURED_RULES:
        benchmark = _read_benchmark(results / "benchmarks" / rule / f"{run.spec.run}.tsv")
        jobs |= {f"{rule}_s": benchmark.get("s"), f"{rule}_mib": benchmark.get("max_rss")}
    return {**run.columns(), **counted, "predict_clips_per_s": predicted.get("predict_clips_per_s"), **jobs}


def _read_benchmark(path: Path) -> dict[str, float]:
    """Read the seconds and MiB of Snakemake's benchmark file; empty if it is missing or the job was too short."""
    if not path.is_file():
        return {}
    with path.open() as file:
        row = next(csv.DictReader(file, delimiter="\t"), {})
    return {key: float(value) for key, value in row.items() if key in ("s", "max_rss") and _is_number(value)}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False  # "NA", "-"
    return True


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.is_file() else {}


def _tuning(runs: Iterable[Run], results: Path) -> pa.Table:
    """Return the rows of the trials of tuned runs. Runs that share trials are read once."""
    files = dict.fromkeys(run.spec.tuning.file for run in runs if run.spec.tuning)
    paths = [results / file for file in files if file is not None]
    return concatenate("tuning", [read_table("tuning", path) for path in paths if path.is_file()])


def _texts(texts: dict[Path, RunSpec]) -> pa.Table:
    """Return the rows of all text sets."""
    columns = ("dataset", "protocol", "backbone", "texts")
    parts = [
        with_columns({column: getattr(spec, column) for column in columns}, read_table("texts", path))
        for path, spec in texts.items()
    ]
    return concatenate("collected_texts", parts)
