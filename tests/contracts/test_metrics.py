"""Contract of metrics, over every built-in one, and what accuracies promise beyond it."""

from dataclasses import replace

import numpy as np
import pytest

from kinetext.contracts import Case, checks
from kinetext.core import plugins
from kinetext.evaluation.calibration import Calibration
from kinetext.evaluation.intervals import metric_interval
from kinetext.evaluation.metrics import BUILT_IN, all_metrics
from kinetext.evaluation.metrics.base import Metric
from kinetext.evaluation.predictions import Predictions

LABELS = list("abcdefgh")
RIVALS = {"a": ["b", "c"], "b": ["a"], "c": ["d"], "d": ["c"]}


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("check", checks("metrics"), ids=lambda check: check.__name__)
def test_contract(name, check, tmp_path):
    module, options = BUILT_IN[name]
    check(Case("metrics", module, tmp_path, options))


def test_every_module_is_measured():
    assert {module for module, _ in BUILT_IN.values()} == set(plugins.names("metrics"))


ACCURACIES = {  # but for those of calibration and of groups of classes, which need more than scores
    name: metric
    for name, metric in all_metrics().items()
    if metric.task == "classes" and metric.unit == "share" and not metric.ordered_only
}


@pytest.fixture(params=ACCURACIES)
def measure(request):
    metric = ACCURACIES[request.param]
    return lambda sample: metric.measure(sample, RIVALS if metric.needs_rivals else None)


@pytest.fixture
def predictions():
    random = np.random.default_rng(3)
    target_B = random.integers(len(LABELS), size=90)
    scores_BK = random.normal(size=(90, len(LABELS)))
    scores_BK[np.arange(90), target_B] += 1.0
    scores_BK[7] = np.nan
    return Predictions(LABELS, target_B, scores_BK)


@pytest.mark.parametrize(
    "name", [name for name, metric in all_metrics().items() if metric.task == "classes" and not metric.needs_rivals]
)
def test_samples_of_prepared_clips_have_the_value_of_samples_of_clips(name, predictions):
    metric = all_metrics()[name]
    fitted = Calibration(temperature=2.0, clips=9)
    kept = replace(predictions, train_clips_K=np.array([300, 200, 90, 80, 40, 30, 9, 5]), calibration=fitted)
    classes = {"head_accuracy": (0, 1), "middle_accuracy": (2, 3, 4, 5), "tail_accuracy": (6, 7)}.get(name)
    if classes is not None:
        kept = kept.take(np.flatnonzero(np.isin(kept.target_B, classes)))
    elif name in ("ece", "ece_calibrated", "aurc"):  # without the clip that has no frames
        kept = kept.take(np.flatnonzero(~np.isnan(kept.scores_BK[:, 0])))
    prepared = metric.prepare(kept)
    assert len(prepared) == len(kept)
    for seed in range(3):
        rows = np.random.default_rng(seed).integers(len(kept), size=len(kept))
        assert metric.measure(prepared.take(rows)) == pytest.approx(metric.measure(kept.take(rows)))


def test_perfect_predictions_give_one_and_reversed_ones_zero(measure):
    target_B = np.repeat(np.arange(len(LABELS)), 3)
    perfect_BK = np.eye(len(LABELS))[target_B]
    assert measure(Predictions(LABELS, target_B, perfect_BK)) == 1.0
    assert measure(Predictions(LABELS, target_B, -perfect_BK)) == 0.0


def test_clips_without_frames_give_zero(measure, predictions):
    assert measure(Predictions(LABELS, predictions.target_B, np.full_like(predictions.scores_BK, np.nan))) == 0.0


def test_equal_scores_of_all_classes_give_zero(measure, predictions):
    assert measure(Predictions(LABELS, predictions.target_B, np.zeros_like(predictions.scores_BK))) == 0.0


def test_only_the_order_of_the_scores_counts(measure, predictions):
    assert measure(Predictions(LABELS, predictions.target_B, np.exp(predictions.scores_BK / 7))) == measure(predictions)


@pytest.mark.parametrize("name", ACCURACIES)
def test_the_interval_is_inside_zero_and_one_around_the_value(name, predictions):
    metric, rivals = ACCURACIES[name], RIVALS if ACCURACIES[name].needs_rivals else None
    low, high = metric_interval(metric, predictions, rivals, draws=200)[:2]
    assert 0 <= low < metric.measure(predictions, rivals) < high <= 1


@pytest.mark.parametrize("name", ["top1", "top5", "pair_accuracy"])
def test_clip_values_give_nearly_the_interval_of_measuring_each_draw(name, predictions):
    metric, rivals = ACCURACIES[name], RIVALS if ACCURACIES[name].needs_rivals else None

    class Slow(Metric):
        def measure(self, sample, rivals=None):
            return metric.measure(sample, rivals)

    slow = metric_interval(Slow(), predictions, rivals, draws=1000)
    quick = metric_interval(metric, predictions, rivals)
    assert quick[:2] == pytest.approx(slow[:2], abs=0.01)
    assert quick.variance == pytest.approx(slow.variance, rel=0.2)
