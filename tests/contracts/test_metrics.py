"""What every metric promises, over every public function of metrics.py."""

from functools import partial

import numpy as np
import pytest

from kinetext.evaluation.measure import all_metrics, bootstrap_interval, clip_values, needs_rivals
from kinetext.evaluation.predictions import Predictions

LABELS = list("abcdefgh")
RIVALS = {"a": ["b", "c"], "b": ["a"], "c": ["d"], "d": ["c"]}


@pytest.fixture(params=sorted(all_metrics()))
def metric(request):
    function = all_metrics()[request.param]
    return partial(function, rivals=RIVALS) if needs_rivals(function) else function


@pytest.fixture
def predictions():
    random = np.random.default_rng(3)
    target_B = random.integers(len(LABELS), size=90)
    scores_BK = random.normal(size=(90, len(LABELS)))
    scores_BK[np.arange(90), target_B] += 1.0
    scores_BK[7] = np.nan
    return Predictions(LABELS, target_B, scores_BK)


def test_metrics_are_found():
    assert {"top1", "top5", "mean_class_accuracy", "pair_accuracy"} <= set(all_metrics())


def test_perfect_predictions_give_one_and_reversed_ones_zero(metric):
    target_B = np.repeat(np.arange(len(LABELS)), 3)
    perfect_BK = np.eye(len(LABELS))[target_B]
    assert metric(Predictions(LABELS, target_B, perfect_BK)) == 1.0
    assert metric(Predictions(LABELS, target_B, -perfect_BK)) == 0.0


def test_no_frames_at_all_give_zero(metric, predictions):
    nothing = Predictions(LABELS, predictions.target_B, np.full_like(predictions.scores_BK, np.nan))
    assert metric(nothing) == 0.0


def test_equal_scores_for_all_classes_give_zero(metric, predictions):
    assert metric(Predictions(LABELS, predictions.target_B, np.zeros_like(predictions.scores_BK))) == 0.0


def test_the_order_of_the_clips_changes_nothing(metric, predictions):
    shuffled = np.random.default_rng(0).permutation(len(predictions.target_B))
    assert metric(predictions.take(shuffled)) == pytest.approx(metric(predictions), abs=1e-12)


def test_only_the_order_of_the_scores_counts(metric, predictions):
    assert metric(Predictions(LABELS, predictions.target_B, np.exp(predictions.scores_BK / 7))) == metric(predictions)


def test_values_and_interval_lie_between_zero_and_one(metric, predictions):
    low, high = bootstrap_interval(metric, predictions, draws=200)
    assert 0 <= low < metric(predictions) < high <= 1


def test_a_mean_over_clips_says_so_truly(metric, predictions):
    value_B = clip_values(metric, predictions)
    if value_B is None:
        pytest.skip("no mean over clips")
    alone = [metric(predictions.take(np.array([b]))) for b in range(len(predictions))]
    assert value_B.tolist() == pytest.approx(alone, nan_ok=True)
    assert np.nanmean(value_B) == pytest.approx(metric(predictions))
    slowly = bootstrap_interval(lambda drawn: metric(drawn), predictions, draws=50)
    assert bootstrap_interval(metric, predictions, draws=50) == pytest.approx(slowly)
