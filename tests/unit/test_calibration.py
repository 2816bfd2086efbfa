"""Shares: temperature, calibration error and risk-coverage curves; and classes by their number of training clips."""

import numpy as np
import pytest

from kinetext.evaluation.calibration import (
    Calibration,
    expected_error,
    fit_temperature,
    read_calibration,
    selective_risk,
    softmax,
)
from kinetext.evaluation.class_sizes import describe_groups, size_groups
from kinetext.evaluation.intervals import Estimate
from kinetext.evaluation.metrics import all_metrics
from kinetext.evaluation.predictions import Predictions
from kinetext.report.calibration import calibration_sections
from kinetext.report.keys import Comparison, RowKey

METRICS = all_metrics()


def draw_scores(clips=20_000, classes=5, seed=0):
    """Logits, and classes drawn with the probabilities that their softmax gives."""
    random = np.random.default_rng(seed)
    logits_BK = random.normal(size=(clips, classes)) * 2
    chosen_B = (softmax(logits_BK).cumsum(1) < random.random((clips, 1))).sum(1)
    return logits_BK, chosen_B


@pytest.mark.parametrize("temperature", [0.07, 1.0, 12.0])
def test_the_temperature_of_scaled_logits_is_found(temperature):
    logits_BK, target_B = draw_scores()
    fitted = fit_temperature(temperature * logits_BK, target_B)
    assert (fitted.reason, fitted.clips) == (None, 20_000)
    assert fitted.temperature == pytest.approx(temperature, rel=0.03)


def test_the_temperature_minimises_the_likelihood_and_equals_scipys():
    from scipy.optimize import minimize_scalar

    scores_BK, target_B = draw_scores(300)
    scores_BK = 30 * scores_BK + 1000.0  # a constant added to all scores changes nothing

    def negative_log_likelihood(log_temperature):
        share_BK = softmax(scores_BK / np.exp(log_temperature))
        return -np.log(share_BK[np.arange(300), target_B]).mean()

    best = minimize_scalar(negative_log_likelihood, bounds=(-5, 8), method="bounded", options={"xatol": 1e-9})
    assert fit_temperature(scores_BK, target_B).temperature == pytest.approx(np.exp(best.x), rel=1e-4)


def test_clips_without_frames_have_no_part_in_the_temperature():
    scores_BK, target_B = draw_scores(200)
    lost_BK = np.concatenate([scores_BK, np.full((3, 5), np.nan)])
    assert fit_temperature(lost_BK, np.append(target_B, [0, 1, 2])) == fit_temperature(scores_BK, target_B)


def test_scores_that_determine_no_temperature_are_not_calibrated():
    right_BK = np.eye(4)[[0, 1, 2, 3]]
    assert fit_temperature(right_BK, np.arange(4)).reason == "all 4 validation clips are classified correctly"
    assert "no better than chance" in fit_temperature(-right_BK, np.arange(4)).sentence()
    assert "no better than chance" in fit_temperature(np.zeros((4, 4)), np.arange(4)).sentence()
    assert fit_temperature(np.zeros((0, 4)), np.zeros(0, int)).sentence() == (
        "shares are not calibrated: the run has no validation clips"
    )


def test_a_calibration_survives_the_metadata_of_a_file():
    fitted = fit_temperature(*draw_scores(100))
    assert read_calibration(fitted.document()) == fitted
    assert "earlier version" in read_calibration(None).sentence()
    assert Calibration(0.5, 20).shares(np.array([[0.0, 0.5 * np.log(3)]]))[0].tolist() == pytest.approx([0.25, 0.75])


def test_expected_error_by_hand():
    confidence_B, right_B = np.array([0.95, 0.95, 0.55, 1.0]), np.array([True, False, True, True])
    # ten bins: 0.95, 0.95 and 1.0 in the last one (2 of 3 right, 2.9 / 3 sure), 0.55 in the sixth
    assert expected_error(confidence_B, right_B, 10) == pytest.approx((abs(2 - 2.9) + abs(1 - 0.55)) / 4)
    assert expected_error(np.array([0.1, 0.2]), np.array([False, False]), 10) == pytest.approx(
        0.15
    )  # ends belong below


def test_calibrated_scores_have_a_small_error_and_sharpened_ones_a_large_one():
    logits_BK, target_B = draw_scores()
    predictions = Predictions(
        list("abcde"), target_B, 10 * logits_BK, calibration=fit_temperature(*draw_scores(5000, seed=1))
    )
    assert METRICS["ece"].measure(predictions) > 0.2
    fitted = Predictions(list("abcde"), target_B, logits_BK, calibration=fit_temperature(*draw_scores(5000, seed=1)))
    assert METRICS["ece_calibrated"].measure(fitted) < 0.02


def test_without_a_temperature_there_is_no_calibrated_error():
    assert METRICS["ece_calibrated"].prepare(Predictions(["a", "b"], np.array([0]), np.array([[1.0, 0.0]]))) is None


def test_risk_at_each_coverage_by_hand():
    confidence_B = np.array([0.5, 0.9, 0.7, 0.7])
    right_B = np.array([True, True, False, True])
    # 0.9 right; the two at 0.7 have half an error each; 0.5 right
    assert selective_risk(confidence_B, right_B).tolist() == pytest.approx([0, 0.5 / 2, 1 / 3, 1 / 4])
    assert selective_risk(np.zeros(0), np.zeros(0)).tolist() == []


def test_the_area_is_the_mean_risk_and_ends_at_the_error_rate():
    logits_BK, target_B = draw_scores(500)
    predictions = Predictions(list("abcde"), target_B, logits_BK)
    confidence_B = softmax(logits_BK).max(1)
    right_B = logits_BK.argmax(1) == target_B
    risk_B = selective_risk(confidence_B, right_B)
    assert risk_B[-1] == pytest.approx(1 - METRICS["top1"].measure(predictions))
    assert METRICS["aurc"].measure(predictions) == pytest.approx(risk_B.mean())
    order_B = np.argsort(-confidence_B)
    assert risk_B[99] == pytest.approx(1 - right_B[order_B[:100]].mean())


def test_a_mean_has_the_temperatures_of_all_runs_that_it_averages(tmp_path):
    key, cell = RowKey("tiny", "a", "t"), Estimate(value=0.1, low=0, high=0.2, least=0.1, most=0.1, seeds=1, clips=9)
    protocols = {"few_shot_4", "few_shot_4_draw1", "few_shot_4 mean of 2 draws"}
    names = {"d1", "d2", "mean of 2"}
    comparisons = [Comparison(name, protocol, "test") for name in names for protocol in protocols]
    estimates = {comparison: {("aurc", "ordered"): {key: cell}} for comparison in comparisons}
    pools = {comparison: ["d1", "d2"] for comparison in comparisons if comparison.dataset == "mean of 2"}
    runs = [
        {**key._asdict(), "dataset": name, "protocol": protocol, "temperature": 2.0 + number, "calibration": ""}
        for number, (name, protocol) in enumerate(
            [("d1", "few_shot_4"), ("d1", "few_shot_4_draw1"), ("d2", "few_shot_4"), ("d2", "few_shot_4_draw1")]
        )
    ]
    sections = calibration_sections(estimates, runs, [], pools, tmp_path)
    temperatures = {section["comparison"][:2]: section["temperatures"][key] for section in sections}
    assert temperatures["mean of 2", "few_shot_4 mean of 2 draws"] == [2, 3, 4, 5]
    assert temperatures["mean of 2", "few_shot_4"] == [2, 4]
    assert temperatures["d1", "few_shot_4 mean of 2 draws"] == [2, 3]
    assert temperatures["d2", "few_shot_4_draw1"] == [5]


# ---- head, middle and tail


def names(groups):
    return {name: np.flatnonzero(mask_K).tolist() for name, mask_K in groups.items()}


def test_the_thresholds_of_long_tailed_recognition():
    clips_K = np.array([500, 101, 100, 20, 19, 1])
    assert names(size_groups(clips_K)) == {"head": [0, 1], "middle": [2, 3], "tail": [4, 5]}
    assert describe_groups(clips_K)["middle"] == (2, 20, 100)


def test_thirds_where_a_group_would_be_empty():
    assert names(size_groups(np.array([3, 60, 12, 30, 6, 50]))) == {"head": [1, 5], "middle": [2, 3], "tail": [0, 4]}
    # classes of one size stay together
    assert names(size_groups(np.array([40, 40, 40, 40, 5, 5]))) == {"head": [0, 1, 2, 3], "tail": [4, 5]}


def test_novel_classes_and_classes_of_similar_size_have_no_groups():
    assert names(size_groups(np.array([0, 60, 12, 3]))) == {"head": [1], "middle": [2], "tail": [3]}
    assert size_groups(np.array([16, 16, 16])) == {}
    assert size_groups(np.array([100, 70, 51])) == {}
    assert size_groups(np.array([0, 0])) == {}


def test_group_accuracy_is_the_mean_of_its_classes():
    # classes of 200, 50 and 10 training clips; two tail classes with 1 of 2 and 0 of 1 right
    target_B = np.array([0, 1, 2, 2, 3])
    scores_BK = np.eye(4)[[0, 0, 2, 0, 0]]
    predictions = Predictions(list("abcd"), target_B, scores_BK, train_clips_K=np.array([200, 50, 10, 8]))
    measured = {name: METRICS[f"{name}_accuracy"].measure(predictions) for name in ("head", "middle", "tail")}
    assert measured == {"head": 1.0, "middle": 0.0, "tail": 0.25}
    assert METRICS["head_accuracy"].prepare(Predictions(list("ab"), np.array([0]), np.eye(2)[:1])) is None
