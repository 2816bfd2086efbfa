"""choose_settings: read the scores of all tuning trials of a run and write the best setting, used for the final runs.

A score is a metric on the validation clips; test clips are not used. Ties go to the trial with the lower number, so
that the configured setting (trial 0) is kept unless another one is better.
"""

import json
from pathlib import Path
from typing import Any

import yaml

from kinetext.config.run import RunSpec
from kinetext.core.documents import load_json
from kinetext.core.files import atomic_write
from kinetext.core.tables import code_commit, write_table
from kinetext.training.design import trial_number, trial_settings

NOT_PROMOTED = "not promoted"
COLUMNS = ("dataset", "protocol", "backbone", "method", "texts")
Score = dict[str, Any]  # the content of a trial's rung{n}.json


def choose_settings(spec: str, scores: list[Path], output: Path, table: Path) -> None:
    """Write the chosen setting as YAML, and the table `tuning` of all trials and rungs.

    `spec` is a tuned run as JSON, `scores` are the score files of all trials and rungs. The best trial of the last rung
    with any score is chosen. Raises ValueError if no trial has a score.
    """
    run = RunSpec(**json.loads(spec))
    assert run.tuning is not None, run.run
    settings = trial_settings(run.tuning)
    rows = sorted((load_json(path) for path in scores), key=lambda score: (score["rung"], score["trial"]))
    last = max((score["rung"] for score in ranked(rows)), default=None)
    finalists = ranked(score for score in rows if score["rung"] == last)
    if not finalists:
        first = next(score["status"] for score in rows if score["status"] != NOT_PROMOTED)
        raise ValueError(
            f"{run.group}: none of {run.tuning.trials} trials has a score (trial 0: {first}); narrow tuning.space or lower lr"
        )
    best = finalists[0]
    configured = next((score["score"] for score in finalists if score["trial"] == 0), None)
    choice = {
        "trial": best["trial"],
        "setting": settings[best["trial"]],
        "metric": best["metric"],
        "score": best["score"],
        "configured_score": configured,
        "clips": best["clips"],
        "file": f"tuning/{run.group}/{table.name}",
    }
    with atomic_write(output) as part:
        part.write_text(yaml.safe_dump(choice, sort_keys=False))
    columns = {column: getattr(run, column) for column in COLUMNS} | {"seed": run.tuning.seed, "commit": code_commit()}
    write_table("tuning", [_table_row(columns, score, settings, best) for score in rows], table)


def _table_row(columns: dict[str, Any], score: Score, settings: list[dict[str, Any]], best: Score) -> dict[str, Any]:
    """Return a row of the table `tuning`."""
    measured = {
        key: score.get(key) for key in ("trial", "rung", "epochs", "status", "metric", "score", "clips", "seconds")
    }
    setting = json.dumps(settings[score["trial"]], sort_keys=True)
    return {**columns, **measured, "setting": setting, "chosen": score is best, "fingerprint": score["fingerprint"]}


def ranked(scores: Any) -> list[Score]:
    """Return the trials that have a score, best first. Ties are ordered by trial number."""
    measured = [score for score in scores if score["score"] is not None]
    return sorted(measured, key=lambda score: (-score["score"], score["trial"]))


def is_promoted(spec: RunSpec, before: list[Path], promoted: int) -> bool:
    """Return whether a trial is among the best `promoted` trials of the previous rung.

    `before` holds the score files of the previous rung. It is empty for the first rung, where every trial is promoted.
    """
    best = ranked(load_json(path) for path in before)[:promoted]
    return not before or trial_number(spec)[0] in [score["trial"] for score in best]


def write_score(spec: RunSpec, output: Path, status: str = "ok", **measured: Any) -> None:
    """Write the score of a trial at a rung as JSON.

    `measured` holds score, metric, clips and seconds; it is empty if the trial has no score.
    """
    trial, rung = trial_number(spec)
    score: Score = {"trial": trial, "rung": rung, "epochs": spec.training.epochs, "status": status, "score": None}
    score |= measured | {"fingerprint": spec.fingerprint}
    with atomic_write(output) as part:
        part.write_text(json.dumps(score, indent=1) + "\n")
