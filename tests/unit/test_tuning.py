"""Tuning without any training: the design, the rungs, the choice, what run.yaml records of it, and what the report shows."""

import json
from itertools import permutations

import numpy as np
import pytest
import yaml

from kinetext.config.method import MethodOptions
from kinetext.config.run import TuningRecord, read_run
from kinetext.config.tuning import TuningOptions
from kinetext.core import plugins
from kinetext.core.tables import read_rows
from kinetext.plan import check_config, plan_run, plan_runs, tuned_runs
from kinetext.report.jobs import Planned, jobs_of_run
from kinetext.report.tuning import best_of, leader_sentence, tuning_sections, unequal_budgets
from kinetext.training.choose import NOT_PROMOTED, choose_settings, is_promoted, write_score
from kinetext.training.design import TRIAL_SEED, trial_run, trial_settings, tuning_record

CONFIG = """
backbones:
  tiny: {model: kinetext-tiny}
datasets:
  shapes: {frames: {size_px: 64}}
  other: {module: shapes, frames: {size_px: 64}}
texts:
  names: {}
methods:
  zero_shot: {}
  mean_pool: {training: {epochs: 9, lr: 1.0e-4, warmup_epochs: 3}}
  stan: {options: {layers: 2}, training: {epochs: 9}, tuning: {trials: 4}}
tuning: {trials: 8}
experiments:
  first: {datasets: [shapes], backbone: tiny, methods: [zero_shot, mean_pool, stan], texts: [names], seeds: [3, 4]}
"""
GROUP = "shapes/supervised/tiny/mean_pool/names"


def planned(**changes):
    """Return the runs of CONFIG with other values of `tuning` and of the method mean_pool."""
    config = yaml.safe_load(CONFIG)
    config["tuning"] |= changes.pop("tuning", {})
    config["methods"]["mean_pool"] |= changes.pop("method", {})
    config["experiments"]["first"] |= changes
    return plan_runs(check_config(config, "mine.yaml"))


def record_of(method="mean_pool", options=None, training=None, **tuning):
    options = MethodOptions(options=options or {}, training=training or {}, tuning=tuning)
    return tuning_record(plugins.load("methods", method), options, None)


def mean_pool(**changes):
    return tuned_runs(planned(**changes))[GROUP]


# ---- the design


def test_the_first_trial_is_the_configured_setting_and_a_longer_tuning_begins_with_a_shorter_one():
    space = {"training.lr": {"factor": 10}, "training.label_smoothing": {"choices": [0.0, 0.1]}}
    short, long = (trial_settings(record_of(trials=n, space=space)) for n in (7, 32))
    assert len(short) == 7
    assert len(long) == 32
    assert short[0] == {}
    assert long[:7] == short
    assert all(set(setting) == set(space) for setting in long[1:])
    assert trial_settings(record_of(trials=7, space=space, seed=1)) != short
    assert trial_settings(record_of(trials=1)) == [{}]
    assert len(trial_settings(record_of(trials=2))) == 2


def test_points_are_spread_evenly_over_each_range():
    space = {
        "training.lr": {"low": 1e-6, "high": 1e-2, "log": True},
        "training.weight_decay": {"low": 0.0, "high": 0.8},
        "training.betas": {"choices": [[0.9, 0.98], [0.9, 0.999], [0.8, 0.98], [0.8, 0.999]]},
    }
    settings = trial_settings(record_of(trials=17, space=space))[1:]
    lr_N = np.array([setting["training.lr"] for setting in settings])
    decay_N = np.array([setting["training.weight_decay"] for setting in settings])
    # a Sobol net of 16 points has one in each sixteenth of every axis; four digits move none across
    assert sorted(np.floor(4 * (np.log10(lr_N) + 6))) == list(range(16))
    assert sorted(np.floor(decay_N * 20)) == list(range(16))
    choices = [tuple(setting["training.betas"]) for setting in settings]
    assert {choices.count(choice) for choice in choices} == {4}


def test_a_value_is_the_point_of_scipys_sequence_mapped_to_its_range():
    from scipy.stats import qmc

    (_, *settings) = trial_settings(
        record_of(trials=5, seed=3, space={"training.lr": {"low": 1e-5, "high": 1e-3, "log": True}})
    )
    points = qmc.Sobol(1, rng=np.random.default_rng(3)).random(4)[:, 0]
    assert [setting["training.lr"] for setting in settings] == pytest.approx(10 ** (-5 + 2 * points), rel=1e-3)


def test_default_spaces_are_around_the_configured_values_and_leave_out_what_is_off():
    record = record_of("moted", {"hard": 0.0, "motion": 8.0}, {"lr": 1e-4})
    assert record.trials == 16
    assert record.space == {
        "options.align": {"low": 0.25, "high": 4.0, "log": True},
        "options.motion": {"low": 2.0, "high": 32.0, "log": True},
        "training.lr": {"low": pytest.approx(1e-5), "high": pytest.approx(1e-3), "log": True},
        "training.lr_new": {"low": pytest.approx(5e-6), "high": pytest.approx(5e-4), "log": True},
        "training.weight_decay": {"low": 0.001, "high": 0.3, "log": True},
    }
    assert "training.lr_new" not in record_of("mean_pool").space  # it adds no parameter
    assert list(record_of("linear_probe").space) == ["options.C"]
    assert record_of("zero_shot") is None
    assert record_of("mean_pool", training={"epochs": 0}) is None


def test_a_method_without_training_is_tuned_if_it_has_a_space():
    record = record_of("ordered_descriptions", trials=3, space={"options.steps": {"choices": ["ends", "phases"]}})
    assert {setting["options.steps"] for setting in trial_settings(record)[1:]} == {"ends", "phases"}


def test_options_of_a_method_take_precedence_over_the_shared_ones():
    method, shared = plugins.load("methods", "mean_pool"), TuningOptions(trials=8, seed=5)
    assert tuning_record(method, MethodOptions(), None) is None
    assert tuning_record(method, MethodOptions(), shared).trials == 8
    both = tuning_record(method, MethodOptions(tuning={"trials": 4}), shared)
    assert (both.trials, both.seed) == (4, 5)
    assert tuning_record(method, MethodOptions(tuning={"trials": 0}), shared) is None


def test_rungs_triple_the_epochs_and_keep_a_third_of_the_trials_but_two():
    record = record_of(training={"epochs": 9}, trials=16, halving={"factor": 3, "rungs": 3})
    assert [(rung.trials, rung.epochs) for rung in record.rungs] == [(16, 1), (6, 3), (2, 9)]
    assert [(rung.trials, rung.epochs) for rung in record_of(training={"epochs": 9}, trials=16).rungs] == [(16, 9)]
    # a method that is fitted has no epochs
    assert len(record_of("linear_probe", trials=16, halving={}).rungs) == 1


def test_a_trial_is_a_run_with_a_seed_that_no_run_has():
    spec = mean_pool(tuning={"halving": {"factor": 3, "rungs": 2}})
    first, second = trial_run(spec, 1, 0), trial_run(spec, 1, 1)
    assert (first.run, first.seed) == (f"{GROUP}/trial1/rung0", TRIAL_SEED)
    assert (first.training.epochs, first.training.warmup_epochs) == (3, pytest.approx(1.0))
    assert (second.training.epochs, second.training.warmup_epochs) == (9, pytest.approx(3.0))
    assert first.training.lr == second.training.lr == trial_settings(spec.tuning)[1]["training.lr"]
    assert trial_run(spec, 0, 1).training == spec.training
    assert len({first.fingerprint, second.fingerprint, spec.fingerprint}) == 3


def test_a_setting_reaches_into_options_of_options():
    space = {"options.visual_options.layers": {"choices": [1, 2]}}
    spec = mean_pool().model_copy(
        update={
            "method_module": "moted",
            "method_options": {"visual": "stan"},
            "tuning": record_of("moted", trials=3, space=space),
        }
    )
    layers = [trial_run(spec, trial).method_options.get("visual_options") for trial in range(3)]
    assert layers[0] is None
    assert sorted(options["layers"] for options in layers[1:]) == [1, 2]


def test_only_the_trials_that_change_are_other_trials():
    def trials(spec):
        return [trial_run(spec, trial).model_dump_json() for trial in range(4)]

    before = trials(mean_pool())
    assert trials(mean_pool(tuning={"trials": 16})) == before  # more trials
    assert trials(mean_pool(seeds=[0, 7, 8])) == before  # other final runs
    assert trials(mean_pool(method={"testing": {"average": "probabilities"}})) == before  # how tests are scored
    space = {"training.lr": {"factor": 10}}
    assert [a == b for a, b in zip(trials(mean_pool(tuning={"space": space})), before, strict=True)] == [True] + 3 * [
        False
    ]
    assert not {*trials(mean_pool(method={"training": {"epochs": 8}}))} & {*before}


MISTAKES = [
    ({"space": {"training.lrr": {"factor": 3}}}, "space.training.lrr: there is no option 'lrr'; did you mean 'lr'?"),
    ({"space": {"lr": {"factor": 3}}}, "space.lr: write training.NAME or options.NAME, for instance training.lr"),
    (
        {"space": {"training.label_smoothing": {"factor": 3}}},
        "space.training.label_smoothing: its value 0.0 is no positive number; write low and high",
    ),
    (
        {"space": {"training.epochs": {"choices": [1, 2]}}, "halving": {"rungs": 2}},
        "space: training.epochs is what successive halving decides; remove it, or halving",
    ),
    (
        {"halving": {"factor": 3, "rungs": 4}},
        "halving: 4 rungs of factor 3 need 27 epochs or more, and training.epochs is 9; take fewer rungs",
    ),
]


@pytest.mark.parametrize(("tuning", "message"), MISTAKES, ids=[message[:30] for _, message in MISTAKES])
def test_a_mistake_is_reported_before_anything_runs(tuning, message):
    with pytest.raises(ValueError, match="methods") as caught:
        planned(method={"tuning": tuning})
    assert str(caught.value) == f"mine.yaml: methods.mean_pool.tuning.{message}"


RANGES = [
    ({"low": 1.0}, "an interval needs low and high; add the other one"),
    ({"low": 2.0, "high": 1.0}, "low is 2 and high is 1; low must be lower"),
    (
        {"low": 0.0, "high": 1.0, "log": True},
        "log: a log-uniform interval has low above zero; set low and high, or remove log",
    ),
    ({"factor": 2, "choices": [1, 2]}, "a range is either low and high, or factor, or choices; write one of them"),
]


@pytest.mark.parametrize(("fields", "message"), RANGES, ids=[message[:20] for _, message in RANGES])
def test_a_range_that_is_none_is_refused(fields, message):
    with pytest.raises(ValueError, match="space") as caught:
        planned(tuning={"space": {"training.lr": fields}})
    assert str(caught.value) == f"mine.yaml: tuning.space.training.lr: {message}"


def test_a_setting_that_the_run_would_refuse_is_refused_with_its_trial():
    with pytest.raises(ValueError, match="trial") as caught:
        planned(method={"tuning": {"space": {"training.batch_size": {"choices": [32, 0]}}}})
    assert str(caught.value) == (
        "mine.yaml: methods.mean_pool.tuning: trial 2 (training.batch_size 0): training.batch_size: input should be greater "
        "than or equal to 1, not 0"
    )
    config = yaml.safe_load(CONFIG)
    config["methods"]["stan"]["tuning"] = {"space": {"options.layers": {"choices": [1, 9]}}}
    message = r"trial \d \(options.layers 9\): options.layers is 9, but backbone tiny has 4 layers"
    with pytest.raises(ValueError, match=message):
        check_config(config, "mine.yaml")


def test_a_data_set_without_validation_clips_is_refused():
    config = yaml.safe_load(CONFIG)
    config["datasets"]["shapes"]["options"] = {"val": 0}
    with pytest.raises(ValueError, match="validation") as caught:
        check_config(config, "mine.yaml")
    assert str(caught.value) == (
        "mine.yaml: methods.mean_pool.tuning: judges by validation clips, and datasets.shapes.options.val is 0; raise it, or "
        "set methods.mean_pool.tuning: {trials: 0}"
    )
    config["tuning"] = {"trials": 0}
    config["methods"]["stan"]["tuning"] = {"trials": 0}
    assert tuned_runs(plan_runs(check_config(config))) == {}


# ---- the choice


def write_scores(folder, spec, scores):
    """Write the score of each trial, which is None where it diverged; return the files."""
    files = []
    for trial, score in enumerate(scores):
        files.append(folder / f"trial{trial}/rung0.json")
        measured = {"metric": "val_top1", "score": score, "clips": 50, "seconds": 2.0}
        if score is None:
            write_score(trial_run(spec, trial), files[-1], "diverged: the loss is nan")
        else:
            write_score(trial_run(spec, trial), files[-1], **measured)
    return files


def chosen(folder, spec, files):
    choose_settings(spec.model_dump_json(), files, folder / "setting.yaml", folder / "trials.parquet")
    return yaml.safe_load((folder / "setting.yaml").read_text())


def test_the_highest_score_is_chosen_and_the_lower_of_equal_trials(tmp_path):
    spec = mean_pool(tuning={"trials": 5})
    choice = chosen(tmp_path, spec, write_scores(tmp_path, spec, [0.5, 0.25, 0.75, None, 0.75]))
    assert choice == {
        "trial": 2,
        "setting": trial_settings(spec.tuning)[2],
        "metric": "val_top1",
        "score": 0.75,
        "configured_score": 0.5,
        "clips": 50,
        "file": f"tuning/{GROUP}/trials.parquet",
    }
    rows = read_rows("tuning", tmp_path / "trials.parquet")
    assert [row["score"] for row in rows] == [0.5, 0.25, 0.75, None, 0.75]
    assert [row["trial"] for row in rows if row["chosen"]] == [2]
    assert rows[3]["status"] == "diverged: the loss is nan"
    assert [json.loads(row["setting"]) for row in rows] == trial_settings(spec.tuning)
    assert {(row["dataset"], row["method"], row["epochs"], row["seed"]) for row in rows} == {
        ("shapes", "mean_pool", 9, 0)
    }
    assert rows[1]["fingerprint"] == trial_run(spec, 1).fingerprint


def test_where_nothing_is_better_the_configured_setting_stays(tmp_path):
    spec = mean_pool(tuning={"trials": 3})
    assert chosen(tmp_path, spec, write_scores(tmp_path, spec, [0.5, 0.5, 0.25]))["trial"] == 0


def test_a_tuning_of_which_every_trial_diverged_is_an_error(tmp_path):
    spec = mean_pool(tuning={"trials": 2})
    with pytest.raises(ValueError, match=f"{GROUP}: none of 2 trials has a score .trial 0: diverged: the loss is nan"):
        chosen(tmp_path, spec, write_scores(tmp_path, spec, [None, None]))


def test_a_rung_promotes_its_best_and_the_last_one_is_chosen_from(tmp_path):
    spec = mean_pool(tuning={"trials": 6, "halving": {"factor": 3, "rungs": 2}})
    first = write_scores(tmp_path, spec, [0.5, 0.9, None, 0.7, 0.1, 0.7])
    promoted = spec.tuning.rungs[1].trials
    assert promoted == 2
    assert [is_promoted(trial_run(spec, trial, 1), first, promoted) for trial in range(6)] == [0, 1, 0, 1, 0, 0]
    assert is_promoted(trial_run(spec, 4, 0), [], 6)
    files = list(first)
    for trial in range(6):
        files.append(tmp_path / f"trial{trial}/rung1.json")
        if trial in (1, 3):
            measured = {"metric": "val_top1", "score": {1: 0.6, 3: 0.8}[trial], "clips": 50, "seconds": 6.0}
            write_score(trial_run(spec, trial, 1), files[-1], **measured)
        else:
            write_score(trial_run(spec, trial, 1), files[-1], NOT_PROMOTED)
    choice = chosen(tmp_path, spec, files)
    assert (choice["trial"], choice["score"], choice["configured_score"]) == (3, 0.8, None)
    rows = read_rows("tuning", tmp_path / "trials.parquet")
    assert [(row["rung"], row["trial"]) for row in rows] == [(rung, trial) for rung in (0, 1) for trial in range(6)]
    assert [(row["rung"], row["trial"]) for row in rows if row["chosen"]] == [(1, 3)]
    assert [row["epochs"] for row in rows] == [3] * 6 + [9] * 6


# ---- run.yaml


def test_the_final_runs_have_the_setting_and_where_it_comes_from(tmp_path):
    spec = mean_pool(tuning={"trials": 3})
    choice = chosen(tmp_path, spec, write_scores(tmp_path, spec, [0.5, 0.75, 0.25]))
    runs = planned(tuning={"trials": 3})
    for seed in (3, 4):
        plan_run(runs[f"{GROUP}/seed{seed}"].model_dump_json(), tmp_path / f"{seed}.yaml", tmp_path / "setting.yaml")
    first, second = (read_run(tmp_path / f"{seed}.yaml") for seed in (3, 4))
    assert (first.seed, second.seed) == (3, 4)
    for name, value in choice["setting"].items():
        assert getattr(first.training, name.removeprefix("training.")) == value
    assert first.training == second.training
    assert first.training.epochs == 9
    assert isinstance(first.tuning, TuningRecord)
    provenance = (first.tuning.trials, first.tuning.seed, first.tuning.trial, first.tuning.score, first.tuning.file)
    assert provenance == (3, 0, 1, 0.75, f"tuning/{GROUP}/trials.parquet")
    assert first.fingerprint == first.with_fingerprint().fingerprint != runs[f"{GROUP}/seed3"].fingerprint
    assert first.tuning.planned == runs[f"{GROUP}/seed3"].fingerprint  # by which the report sees that it is up to date


def test_a_run_without_tuning_is_planned_as_before(tmp_path):
    runs = planned()
    name = "shapes/supervised/tiny/zero_shot/names/seed3"
    plan_run(runs[name].model_dump_json(), tmp_path / "run.yaml")
    assert read_run(tmp_path / "run.yaml") == runs[name]
    assert runs[name].tuning is None


def test_a_run_that_tests_another_runs_checkpoint_has_that_runs_setting(tmp_path):
    config = yaml.safe_load(CONFIG)
    config["experiments"]["first"] |= {"datasets": ["other"], "protocol": "zero_shot_from_shapes"}
    runs = plan_runs(check_config(config))
    assert GROUP in tuned_runs(runs)
    assert not any(group.startswith("other") for group in tuned_runs(runs))
    spec = tuned_runs(runs)[GROUP]
    chosen(tmp_path, spec, write_scores(tmp_path, spec, [0.5, 0.75, 0.25, 0.1, 0.1, 0.1, 0.1, 0.1]))
    plan_run(runs[f"{GROUP}/seed3"].model_dump_json(), tmp_path / "source.yaml", tmp_path / "setting.yaml")
    target = runs["other/zero_shot_from_shapes/tiny/mean_pool/names/seed3"]
    plan_run(target.model_dump_json(), tmp_path / "target.yaml", trained=tmp_path / "source.yaml")
    source, tested = read_run(tmp_path / "source.yaml"), read_run(tmp_path / "target.yaml")
    assert (tested.trained_on, tested.trained_fingerprint) == (source.run, source.fingerprint)
    assert tested.training == source.training
    assert tested.tuning.planned == target.fingerprint
    assert tested.tuning == source.tuning.model_copy(update={"planned": target.fingerprint})
    assert tested.training != target.training


# ---- the report


def test_the_best_of_n_trials_is_exact_over_all_orders():
    score_N = np.array([0.2, 0.9, 0.5, 0.5, 0.0])
    best_PN = np.array([np.maximum.accumulate(order) for order in permutations(score_N)])
    mean_N, low_N, high_N = best_of(score_N)
    assert mean_N == pytest.approx(best_PN.mean(0))
    assert low_N == pytest.approx(np.quantile(best_PN, 0.025, axis=0, method="inverted_cdf"))
    assert high_N == pytest.approx(np.quantile(best_PN, 0.975, axis=0, method="inverted_cdf"))
    assert low_N[-1] == high_N[-1] == mean_N[-1] == 0.9


def test_the_report_says_from_how_many_trials_on_another_row_is_ahead():
    steady, rising = np.array([0.5, 0.5, 0.5, 0.5]), np.array([0.3, 0.45, 0.55, 0.6])
    assert leader_sentence({"a": steady, "b": rising}) == (
        "The order on the validation clips depends on the number of trials (not tested): with one trial a is ahead, "
        "from 3 on b."
    )
    assert leader_sentence({"a": steady, "b": rising[:2]}) == (
        "a is ahead on the validation clips with any number of trials up to 2."
    )
    assert leader_sentence({"a": steady}) == ""


def test_unequal_budgets_are_named_and_rows_without_anything_to_tune_do_not_count():
    def rows(**trials):
        names = {"backbone": "tiny", "texts": "names"}
        return [{**names, "method": method, "trials": n, "rungs": n and 1} for method, n in trials.items()]

    costs = [{**row, "trained_parameters": 5} for row in rows(stan=1, mean_pool=1)]
    assert unequal_budgets(rows(stan=16, mean_pool=16, zero_shot=None), costs) == ""
    assert unequal_budgets(rows(stan=None, mean_pool=None), costs) == ""
    assert unequal_budgets(rows(stan=16, mean_pool=None, zero_shot=None), costs) == (
        "16 trials: stan · names; not tuned: mean_pool · names. A method with more trials has had more chances; give all the "
        "same `tuning.trials`."
    )


def test_the_report_has_a_row_for_each_tuned_method_and_a_plot_of_what_all_trials_have(tmp_path):
    def rows(method, scores, rung=0, promoted=None, best=None):
        for trial, score in enumerate(scores):
            status = "diverged: the loss is nan" if score is None else "ok"
            status = status if promoted is None or trial in promoted else NOT_PROMOTED
            names = {
                "dataset": "shapes",
                "protocol": "supervised",
                "backbone": "tiny",
                "method": method,
                "texts": "names",
            }
            judged = (
                {"metric": "val_top1", "score": score, "clips": 50}
                if status == "ok"
                else {"metric": None, "score": None}
            )
            setting = json.dumps({"training.lr": trial} if trial else {})
            yield {
                **names,
                "trial": trial,
                "rung": rung,
                "status": status,
                "setting": setting,
                "chosen": trial == best,
                **judged,
            }

    table = [*rows("mean_pool", [0.5, 0.2, None], best=0)]
    table += [*rows("stan", [0.4, 0.6, 0.7]), *rows("stan", [0.0, 0.9, 0.8], 1, {1, 2}, best=1)]
    (section,) = tuning_sections(table, {}, tmp_path)
    assert (section["title"], section["metric"], section["halving"]) == ("shapes, supervised", "val_top1", True)
    first, second = section["rows"]
    assert (first["budget"], first["configured"], first["score"], first["setting"]) == ("3 trials", 0.5, 0.5, {})
    assert (first["diverged"], second["diverged"]) == (1, 0)
    assert (second["budget"], second["configured"], second["why_not"]) == ("3 trials in 2 rungs", None, NOT_PROMOTED)
    assert (second["score"], second["setting"], second["clips"]) == (0.9, {"training.lr": 1}, 50)
    assert (tmp_path / "tuning-shapes-supervised.png").is_file()
    # mean of the scores of the first rung: 0.7 / 3 against 1.7 / 3
    assert section["sentences"] == ["stan · names is ahead on the validation clips with any number of trials up to 3."]


def test_the_jobs_of_a_tuned_run_are_those_of_its_trials_too(tmp_path):
    runs = planned(tuning={"trials": 2, "halving": {"factor": 3, "rungs": 2}})
    jobs = list(jobs_of_run(tmp_path, f"{GROUP}/seed3", {name: Planned(run, True) for name, run in runs.items()}))
    trials = [str(job.outputs[0].relative_to(tmp_path / "tuning" / GROUP)) for job in jobs if job.rule == "tune_method"]
    assert trials == ["trial0/rung0.json", "trial1/rung0.json", "trial0/rung1.json", "trial1/rung1.json"]
    assert [job.rule for job in jobs][-5:] == [
        "choose_settings",
        "plan_run",
        "train_method",
        "predict_clips",
        "measure_run",
    ]


def test_more_seeds_change_nothing_that_is_tuned():
    assert mean_pool(seeds=[3]) == mean_pool(seeds=[3, 4, 5]) == mean_pool(seeds=[5, 3])
