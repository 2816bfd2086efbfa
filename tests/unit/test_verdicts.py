"""The sentences about a comparison: winners, chance, trainings that did not learn, too few clips."""

from dataclasses import replace

import numpy as np
import pytest

from kinetext.config.report import ReportOptions
from kinetext.evaluation.intervals import Estimate, harmonic_mean, mean_over_datasets
from kinetext.evaluation.metrics import all_metrics
from kinetext.evaluation.paired import Difference
from kinetext.evaluation.predictions import Predictions
from kinetext.evaluation.seed_means import SeedVariance, clip_parts, mean_over_seeds
from kinetext.report.comparisons import comparison_sections
from kinetext.report.descriptions import compare_texts
from kinetext.report.keys import Comparison, RowKey
from kinetext.report.verdicts import did_not_learn, verdict_sentences

STAN, MEAN, ZERO = (RowKey("b", method, "names") for method in ("stan", "mean_pool", "zero_shot"))


def cell(value, half=0.1, clips=22, chance=0.25):
    ends = {"low": value - half, "high": value + half, "least": value, "most": value}
    return Estimate(value=value, **ends, seeds=1, clips=clips, chance=chance)


def differences(cells, p, half=0.2):
    """The difference of every two rows, with one p for all of them."""
    pairs = {}
    for key, one in cells.items():
        for other, two in cells.items():
            if key != other:
                value = one.value - two.value
                ends = {"low": value - half, "high": value + half, "least": value, "most": value}
                pairs[key, other] = Difference(value=value, **ends, seeds=1, clips=one.clips, p=p, corrected_p=p)
    return pairs


def test_no_row_is_named_where_nothing_is_significant_and_few_clips_are_said_plainly():
    cells = {STAN: cell(0.6), MEAN: cell(0.55), ZERO: cell(0.5)}
    assert verdict_sentences("top1", cells, differences(cells, 0.4)) == [
        "No significant difference between the 3 rows with these trained weights: top1 is 50.0 to 60.0 %.",
        "22 clips cannot separate them: a difference of about 20 points could go unseen.",
    ]


def test_only_rows_that_were_compared_and_are_lower_are_called_worse():
    cells = {STAN: cell(0.6), MEAN: cell(0.5), ZERO: cell(0.4)}
    pairs = differences(cells, 0.01)
    assert verdict_sentences("top1", cells, pairs)[1:] == [
        "All other rows are significantly worse with these trained weights."
    ]
    some = {pair: difference for pair, difference in pairs.items() if ZERO not in pair}
    assert verdict_sentences("top1", cells, some)[1:] == [
        "Significantly worse with these trained weights: mean_pool with names."
    ]
    other_metric = {pair: replace(difference, value=-difference.value) for pair, difference in pairs.items()}
    assert len(verdict_sentences("map", cells, other_metric)) == 1


def test_many_clips_that_find_no_difference_are_not_called_too_few():
    cells = {STAN: cell(0.6, 0.01, 5000), ZERO: cell(0.59, 0.01, 5000)}
    assert len(verdict_sentences("top1", cells, differences(cells, 0.4, half=0.02))) == 1


def test_the_highest_row_is_named_with_those_that_do_not_differ_from_it():
    cells = {STAN: cell(0.6), MEAN: cell(0.55), ZERO: cell(0.4)}
    pairs = differences(cells, 0.01)
    equal = differences(cells, 0.4)
    pairs[MEAN, STAN], pairs[STAN, MEAN] = equal[MEAN, STAN], equal[STAN, MEAN]
    assert verdict_sentences("top1", cells, pairs) == [
        "Highest top1: stan with names, 60.0 % [50.0, 70.0] (1 seed, 22 clips).",
        "Not significantly different from it with these trained weights: mean_pool with names.",
    ]
    assert "All other rows are significantly worse" in verdict_sentences("top1", cells, differences(cells, 0.01))[1]


def test_rows_at_chance_and_trainings_that_did_not_learn_are_named():
    cells = {STAN: cell(0.6), MEAN: cell(0.3), ZERO: cell(0.24)}
    sentences = verdict_sentences("top1", cells, differences(cells, 0.01), unlearned=[MEAN])
    assert sentences[-2:] == [
        "Not significantly better than chance (25.0 %): mean_pool with names and zero_shot with names.",
        "Did not learn: mean_pool with names; top1 on validation clips was never above chance.",
    ]
    low = {MEAN: cell(0.3), ZERO: cell(0.24)}
    assert (
        verdict_sentences("top1", low, differences(low, 0.4))[-1]
        == "No row is significantly better than chance (25.0 %)."
    )


@pytest.mark.parametrize(
    ("values", "chance", "unlearned"),
    [({0: [0.2, 0.25], 1: [0.1, 0.1]}, 0.25, True), ({0: [0.2], 1: [0.3]}, 0.25, False), ({}, 0.25, False)],
)
def test_a_row_did_not_learn_if_no_seed_was_ever_above_chance(values, chance, unlearned):
    curves = [{"metric": "val_top1", "seed": seed, "value": v} for seed, some in values.items() for v in some]
    curves.append({"metric": "val_loss", "seed": 0, "value": 9.0})
    assert did_not_learn(curves, "classes", chance) == unlearned
    assert not did_not_learn(curves, "classes", None)


@pytest.mark.parametrize(
    ("task", "judged"), [("classes", "val_top1"), ("labels", "val_map"), ("captions", "val_t2v_r1")]
)
def test_each_task_is_judged_by_its_own_metric_and_the_chance_that_training_recorded(task, judged):
    def curves(value, chance=0.1):
        others = [{"metric": name, "value": 0.9} for name in ("val_loss", "val_top1", "val_map", "val_t2v_r1")]
        recorded = [{"metric": "val_chance", "value": chance}] if chance else []
        return [row for row in others if row["metric"] != judged] + [{"metric": judged, "value": value}, *recorded]

    assert did_not_learn(curves(0.1), task, 0.5)
    assert not did_not_learn(curves(0.2), task, 0.5)  # chance of test clips is another one
    assert not did_not_learn(curves(None), task, 0.5)
    assert did_not_learn(curves(0.2, chance=None), task, 0.5) == (task == "classes")


@pytest.mark.parametrize(("metric", "name"), [("mean_class_accuracy", "top1"), ("map", "map"), ("v2t_r1", "t2v_r1")])
def test_the_sentence_names_the_metric_that_was_validated(metric, name):
    (*_, sentence) = verdict_sentences(metric, {MEAN: cell(0.6)}, {}, unlearned=[MEAN])
    assert sentence == f"Did not learn: mean_pool with names; {name} on validation clips was never above chance."


def test_top5_in_front_does_not_make_a_training_look_unlearned(tmp_path):
    """Chance of top-5 accuracy among six classes is 83 %, which top-1 accuracy on validation clips need not reach."""
    measured = {
        ("top5", "ordered"): {MEAN: cell(0.95, chance=5 / 6)},
        ("top1", "ordered"): {MEAN: cell(0.6, chance=1 / 6)},
    }

    def unlearned(top1):
        curves = [{**MEAN._asdict(), "metric": "val_top1", "seed": 0, "value": top1}]
        options = ReportOptions(headline=["top5"])
        comparison = Comparison("d", "supervised", "test")
        section = comparison_sections(comparison, measured, options, [], [], curves, [], tmp_path)
        return section["unlearned"], section["validation_metric"]

    assert unlearned(0.6) == ([], "top1")
    assert unlearned(1 / 6) == ([MEAN], "top1")


def test_chance_of_several_labels_is_the_expected_value_of_random_scores():
    random = np.random.default_rng(0)
    labels_BK = random.random((9, 4)) < [0.1, 0.3, 0.6, 0.9]
    labels_BK[0] = [True, True, False, True]
    names = list("abcd")

    def sample():
        return Predictions(names, np.full(9, -1), random.normal(size=(9, 4)), labels_BK=labels_BK)

    for name in ("map", "lrap"):
        metric = all_metrics()[name]
        mean = np.mean([metric.measure(metric.prepare(sample())) for _ in range(3000)])
        assert metric.chance(metric.prepare(sample())) == pytest.approx(mean, abs=0.006), name


def test_chance_is_the_expected_value_of_random_scores():
    random = np.random.default_rng(0)
    labels = [f"class {k}" for k in range(8)]
    sample = Predictions(labels, random.integers(8, size=20_000), random.normal(size=(20_000, 8)))
    sample = replace(sample, train_clips_K=np.array([300, 200, 90, 80, 40, 30, 9, 5]))
    rivals = {label: [labels[k - 1]] for k, label in enumerate(labels)}
    for name, metric in all_metrics().items():
        if metric.task == "classes" and name not in ("ece", "ece_calibrated", "aurc"):  # of chance unknown
            assert metric.chance(sample) == pytest.approx(metric.measure(sample, rivals), abs=0.015), name
    assert all_metrics()["top5"].chance(Predictions(["a", "b"], np.zeros(1, int), np.zeros((1, 2)))) == 1.0


def test_chance_of_means_is_their_own():
    assert mean_over_datasets([cell(0.5, chance=0.1), cell(0.6, chance=0.3)]).chance == pytest.approx(0.2)
    assert mean_over_datasets([cell(0.5, chance=0.1), cell(0.6, chance=None)]).chance is None
    assert harmonic_mean(cell(0.5, chance=0.25), cell(0.6, chance=0.5)).chance == pytest.approx(1 / 3)


def test_two_sets_of_descriptions_are_compared_once(tmp_path):
    keys = [RowKey("b", "stan", texts) for texts in ("gpt", "bundled", "names")]
    cells = {key: cell(0.5) for key in keys}
    shown = compare_texts("x", keys, differences(cells, 0.4), ["gpt", "bundled"], tmp_path)
    assert {part["texts"]: sorted(key.texts for key in part["cells"]) for part in shown} == {
        "gpt": ["bundled", "names"],
        "bundled": ["names"],
    }


def test_the_harmonic_mean_of_three_seeds_allows_for_training_that_moves_both_parts():
    one, three = (replace(cell(0.5), seeds=seeds, training=seeds == 3) for seeds in (1, 3))
    assert harmonic_mean(one, one).low == pytest.approx(0.5 - 0.0556 * 2**0.5, abs=1e-3)
    assert harmonic_mean(three, three).low == pytest.approx(0.5 - 0.0556 * 2, abs=1e-3)


def test_a_row_that_is_always_right_has_the_interval_of_its_clips_however_much_other_rows_vary():
    """The variance between seeds is pooled over the table. It has few degrees of freedom, and is not this row's."""
    seeds = [replace(cell(1.0), low=0.986, high=1.0, clips=180, groups=180, unit="share")] * 3
    between = SeedVariance(0.03**2, 4, 0.029**2)
    mean = mean_over_seeds(seeds, between, clip_parts(np.ones((3, 180))))
    assert (mean.value, mean.high) == (1.0, 1.0)
    assert mean.low == pytest.approx(0.9862, abs=1e-4)
