"""choose_settings: read the scores of all trials of a run and write the setting that its final runs train with.

A score is the metric of the validation clips; test clips have no part in it. Of equal scores the lower trial counts, so
that the configured setting stays where nothing is better.
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

    `spec` is a tuned run as JSON, `scores` are the files of all of its trials and rungs. The last rung in which a trial
    has a score decides. Raises ValueError if there is none.
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
    """Return the scores of trials that have one, the best first; of equal ones the lower trial."""
    measured = [score for score in scores if score["score"] is not None]
    return sorted(measured, key=lambda score: (-score["score"], score["trial"]))


def is_promoted(spec: RunSpec, before: list[Path], promoted: int) -> bool:
    """Return whether a trial is among the best `promoted` of the rung before its own; the first rung has every trial."""
    best = ranked(load_json(path) for path in before)[:promoted]
    return not before or trial_number(spec)[0] in [score["trial"] for score in best]


def write_score(spec: RunSpec, output: Path, status: str = "ok", **measured: Any) -> None:
    """Write a trial's score at a rung: `measured` has score, metric, clips and seconds where it was trained."""
    trial, rung = trial_number(spec)
    score: Score = {"trial": trial, "rung": rung, "epochs": spec.training.epochs, "status": status, "score": None}
    score |= measured | {"fingerprint": spec.fingerprint}
    with atomic_write(output) as part:
        part.write_text(json.dumps(score, indent=1) + "\n")
