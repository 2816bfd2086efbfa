"""Tuning in the workflow: which jobs there are, what they write, and what runs again when something changes."""

import json

import pytest
import yaml

from calls import AFTER_METRICS, RUNS, jobs, overlay, planned, snakemake
from kinetext.config.run import read_run
from kinetext.core.tables import read_rows

pytestmark = pytest.mark.workflow
METHODS = {
    "mean_pool": {"training": {"epochs": 2}},
    "stan": {"options": {"layers": 1}, "training": {"image_encoder": "frozen", "epochs": 2, "batch_size": 4}},
}
EXPERIMENTS = {"tiny": {"methods": ["zero_shot", "mean_pool", "stan"], "seeds": [0]}}
FINAL = {"train_method": 2, "predict_clips": 2, "measure_run": 2, **AFTER_METRICS}
ONE_FINAL = {
    "choose_settings": 1,
    "plan_run": 1,
    "train_method": 1,
    "predict_clips": 1,
    "measure_run": 1,
    **AFTER_METRICS,
}


def tuned(folder, methods=METHODS, **tuning):
    return overlay(folder, tuning={"trials": 2, **tuning}, methods=methods, experiments=EXPERIMENTS)


def test_a_tuned_experiment_from_its_trials_to_the_report(copied, tmp_path):
    configs = tuned(tmp_path)
    assert planned(copied, configs=configs) == {"tune_method": 4, "choose_settings": 2, "plan_run": 2, **FINAL}
    done = snakemake(copied, configs=configs)
    assert done.returncode == 0, done.output
    assert jobs(snakemake(copied, "-n", configs=configs).output) == {}
    results = copied / "results"
    rows = read_rows("tuning", results / "tables/tuning.parquet")
    assert len(rows) == 4
    for method in ("mean_pool", "stan"):
        trials = [row for row in rows if row["method"] == method]
        best = max(trials, key=lambda row: (row["score"], -row["trial"]))
        assert [row["trial"] for row in trials if row["chosen"]] == [best["trial"]]
        run = read_run(copied / RUNS / method / "names/seed0/run.yaml")
        assert (run.tuning.trial, run.tuning.score) == (best["trial"], best["score"])
        assert run.tuning.setting == json.loads(best["setting"])
        assert all(getattr(run.training, name.split(".")[1]) == value for name, value in run.tuning.setting.items())
        folder = results / f"tuning/shapes/base_to_novel/tiny/{method}/names"
        assert yaml.safe_load((folder / "setting.yaml").read_text())["trial"] == best["trial"]
        assert results / run.tuning.file == folder / "trials.parquet"
    assert read_run(copied / RUNS / "zero_shot/names/seed0/run.yaml").tuning is None
    page = (results / "report.html").read_text()
    assert '<section id="tuning">' in page
    assert "Unequal budgets" not in page  # zero_shot has nothing to tune

    # what runs again
    more = tuned(tmp_path, trials=3)
    assert planned(copied, configs=more)["tune_method"] == 2
    space = {"training.lr": {"factor": 3}}
    narrower = tuned(tmp_path, {**METHODS, "stan": {**METHODS["stan"], "tuning": {"space": space}}})
    assert planned(copied, configs=narrower) == {"tune_method": 1, **ONE_FINAL}  # trial 0 stays
    lower = tuned(tmp_path, {**METHODS, "stan": {**METHODS["stan"], "testing": {"average": "probabilities"}}})
    assert "tune_method" not in planned(copied, configs=lower)


def test_every_rung_has_its_jobs_and_those_of_trials_that_are_not_promoted_end_at_once(copied, tmp_path):
    methods = {"mean_pool": METHODS["mean_pool"]}
    configs = overlay(tmp_path, tuning={"trials": 3, "halving": {"factor": 2, "rungs": 2}}, methods=methods)
    assert planned(copied, configs=configs)["tune_method"] == 6
    setting = "results/tuning/shapes/base_to_novel/tiny/mean_pool/names/setting.yaml"
    done = snakemake(copied, setting, configs=configs)
    assert done.returncode == 0, done.output
    rows = read_rows("tuning", copied / setting.replace("setting.yaml", "trials.parquet"))
    assert [(row["rung"], row["epochs"]) for row in rows] == [(0, 1)] * 3 + [(1, 2)] * 3
    first = sorted(rows[:3], key=lambda row: (-row["score"], row["trial"]))
    promoted = {row["trial"] for row in first[:2]}
    assert {row["trial"] for row in rows[3:] if row["status"] == "ok"} == promoted
    assert [row["status"] for row in rows[3:] if row["trial"] not in promoted] == ["not promoted"]
