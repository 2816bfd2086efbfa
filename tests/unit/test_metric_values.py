"""Each metric by hand: three clips, two right."""

import itertools

import numpy as np
import pytest

from kinetext.evaluation.metrics import all_metrics
from kinetext.evaluation.metrics.mean_class_accuracy import MeanClassAccuracy
from kinetext.evaluation.predictions import Predictions
from kinetext.evaluation.rivals import split_rivals

METRICS = all_metrics()
LABELS = ["left", "right", "up"]


def predict(target, scores, labels=LABELS):
    return Predictions(labels, np.array(target, int), np.array(scores, np.float64).reshape(len(target), len(labels)))


def test_three_clips_two_right():
    predictions = predict([0, 1, 2], [[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.5, 0.3, 0.2]])
    assert METRICS["top1"].measure(predictions) == 2 / 3


def test_a_tie_is_wrong_for_either_class():
    predictions = predict([0, 1, 2], [[0.5, 0.5, 0.1], [0.5, 0.5, 0.1], [0.1, 0.1, 0.8]])
    assert METRICS["top1"].measure(predictions) == 1 / 3
    assert METRICS["mean_class_accuracy"].measure(predictions) == 1 / 3
    assert METRICS["pair_accuracy"].measure(predictions, {"left": ["right"], "right": ["left"]}) == 0.0


def test_a_clip_without_frames_is_wrong():
    nothing = [np.nan] * 3
    predictions = predict([0, 1, 2, 0], [[0.9, 0.1, 0.0], nothing, nothing, nothing])
    assert METRICS["top1"].measure(predictions) == 1 / 4
    assert METRICS["top5"].measure(predictions) == 1 / 4
    assert METRICS["mean_class_accuracy"].measure(predictions) == (1 / 2 + 0 + 0) / 3
    assert (
        METRICS["pair_accuracy"].measure(predictions, {"left": ["up"], "right": ["left"]}) == 1 / 3
    )  # "up" has no rival


def test_top5_forgives_four():
    labels = list("abcdef")
    fifth = [0.5, 0.9, 0.8, 0.7, 0.6, 0.1]  # four classes above "a"
    sixth = [0.1, 0.9, 0.8, 0.7, 0.6, 0.5]
    tied = [0.5, 0.9, 0.8, 0.7, 0.6, 0.5]  # four above and one beside: a tie is wrong here too
    assert METRICS["top5"].measure(predict([0, 0, 0], [fifth, sixth, tied], labels)) == 1 / 3


def test_a_rare_class_counts_as_much_as_a_common_one():
    right, wrong = [0.9, 0.1, 0.0], [0.9, 0.1, 0.0]
    predictions = predict([0, 0, 0, 1], [right, right, right, wrong])
    assert METRICS["top1"].measure(predictions) == 3 / 4
    assert METRICS["mean_class_accuracy"].measure(predictions) == 1 / 2  # "up" has no clips and is left out


def test_pair_accuracy_is_the_share_of_the_rivals_that_score_lower():
    predictions = predict([0, 0, 1], [[0.5, 0.2, 0.9], [0.1, 0.2, 0.0], [0.9, 0.95, 0.0]])
    assert METRICS["pair_accuracy"].measure(predictions, {"left": ["right", "up"]}) == 1 / 2
    assert METRICS["pair_accuracy"].clip_values(predictions, {"left": ["up", "right"]})[:2].tolist() == [0.5, 0.5]
    assert METRICS["pair_accuracy"].measure(predictions, {"left": ["right"], "right": ["left"], "up": []}) == 2 / 3


@pytest.mark.parametrize("preferred", itertools.permutations([0.1, 0.2, 0.3]))
def test_the_same_order_of_three_rivals_for_all_clips_is_at_chance(preferred):
    """With one rival of each class it had one or two thirds, as if it could count."""
    predictions = predict([0, 1, 2], [list(preferred)] * 3)
    rows = [
        {"rule": "declared", "label": label, "rival": rival, "score": 1.0, "rank": rank}
        for label, others in {"left": ("right", "up"), "right": ("left", "up"), "up": ("right", "left")}.items()
        for rank, rival in enumerate(others, 1)
    ]
    rivals = split_rivals(rows, "declared", predictions.labels)
    assert METRICS["pair_accuracy"].measure(predictions, rivals) == 0.5


def test_less_confusable_rivals_are_left_out():
    rows = [
        {"rule": "text", "label": "left", "rival": rival, "score": score, "rank": rank}
        for rank, (rival, score) in enumerate([("gone", 0.9), ("up", 0.8), ("right", 0.8), ("down", 0.7)], 1)
    ]
    assert split_rivals(rows, "text", ["left", "right", "up", "down"]) == {"left": ["up", "right"]}


def test_a_rival_outside_the_labels_is_an_error_that_names_it():
    with pytest.raises(ValueError, match="'down', rival of 'left'"):
        METRICS["pair_accuracy"].measure(predict([0], [[0.5, 0.2, 0.9]]), {"left": ["down"]})


def test_nothing_to_count_is_nan():
    empty = predict([], [])
    assert all(np.isnan(METRICS[name].measure(empty)) for name in ("top1", "top5", "mean_class_accuracy"))
    assert np.isnan(METRICS["pair_accuracy"].measure(predict([0], [[0.5, 0.2, 0.9]]), {}))


def test_pseudo_values_of_mean_class_accuracy_vary_within_classes_only():
    targets = np.array([0] * 8 + [1] * 2)
    scores_BK = np.eye(2)[targets]
    scores_BK[:2] = [0, 1]
    predictions = Predictions(["a", "b"], targets, scores_BK)
    value_B = MeanClassAccuracy().pseudo_values(predictions)
    assert value_B.mean() == pytest.approx(MeanClassAccuracy().measure(predictions)) == pytest.approx(0.875)
    assert value_B.var() / 10 == pytest.approx(0.75 * 0.25 / 8 / 4)  # half of each class's accuracy


def test_ranks_are_computed_once_for_all_metrics():
    nan = float("nan")
    sample = predict([0, 1, 1, 0], [[0.9, 0.1, 0.9], [0.5, 0.4, 0.3], [0.1, 0.8, 0.2], [nan] * 3], ["a", "b", "c"])
    assert sample.rank_B.tolist() == [2, 2, 1, np.iinfo(np.int32).max]
    assert sample.rank_B is sample.rank_B
    assert sample.take(np.array([2, 0])).rank_B.tolist() == [1, 2]
