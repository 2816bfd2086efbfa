"""AUSUC by hand, against counting over all biases, and its variance against a bootstrap."""

import numpy as np
import pytest

from kinetext.evaluation.predictions import Predictions
from kinetext.evaluation.seen_unseen import both_splits, curve, limits, pseudo_values

LABELS = ["a", "b", "n", "m"]  # n and m are novel


def predictions(scores, targets):
    return Predictions(LABELS, np.array(targets), np.array(scores, float))


def random_splits(clips, skill, seed=0):
    random = np.random.default_rng(seed)
    targets = random.integers(0, 2, clips), random.integers(2, 4, clips)
    return [predictions(random.normal(size=(clips, 4)) + skill * np.eye(4)[target_B], target_B) for target_B in targets]


def accuracies(seen, unseen, bias):
    added = np.array([0, 0, bias, bias])
    return [
        np.mean([row.argmax() == target for row, target in zip(part.scores_BK + added, part.target_B, strict=True)])
        for part in (seen, unseen)
    ]


def test_limits_by_hand():
    seen = predictions([[3, 1, 2, 0], [1, 3, 0, 0], [np.nan] * 4], [0, 0, 1])
    unseen = predictions([[3, 1, 2, 0], [0, 0, 1, 2], [4, 0, 1, 1]], [2, 2, 2])  # the last two: a tie, wrong
    limit = limits(seen, unseen, {"n", "m"})
    assert limit.seen_B.tolist() == [1, -np.inf, -np.inf]
    assert limit.unseen_B.tolist() == [1, np.inf, np.inf]


def test_the_area_is_that_below_the_curve_of_all_biases():
    seen, unseen = random_splits(80, 1.5)
    limit = limits(seen, unseen, {"n", "m"})
    biases = np.unique(np.concatenate([part[np.isfinite(part)] for part in limit]))
    biases = [biases[0] - 1, *((biases[1:] + biases[:-1]) / 2), biases[-1] + 1]
    points = np.array([accuracies(seen, unseen, bias) for bias in biases])
    area = -np.sum(np.diff(points[:, 0]) * points[1:, 1])  # a step at a time: no two limits are equal
    value_B = np.concatenate(pseudo_values(limit))
    assert 0.2 < area < 0.8
    assert value_B.mean() == pytest.approx(area, abs=1e-9)


def test_the_curve_counts_what_the_bias_gets_right():
    seen, unseen = random_splits(60, 1.5, seed=2)
    points = list(curve(limits(seen, unseen, {"n", "m"})))
    assert len(points) == 41
    for point in points[1::6]:
        assert (point["seen"], point["unseen"]) == pytest.approx(
            accuracies(seen, unseen, point["bias"] + 1e-9), abs=1 / 59
        )
    assert points[0]["unseen"] == 0.0
    assert points[-1]["seen"] == 0.0


def test_a_constant_added_to_novel_classes_moves_nothing():
    seen, unseen = random_splits(60, 1.0)
    shifted = [Predictions(LABELS, part.target_B, part.scores_BK + np.array([0, 0, 5, 5])) for part in (seen, unseen)]
    areas = [np.concatenate(pseudo_values(limits(*parts, {"n", "m"}))).mean() for parts in ((seen, unseen), shifted)]
    assert areas[0] == pytest.approx(areas[1])


def test_the_variance_is_that_of_drawing_clips():
    seen, unseen = random_splits(150, 1.2)
    novel, random = {"n", "m"}, np.random.default_rng(1)
    value_B = np.concatenate(pseudo_values(limits(seen, unseen, novel)))
    drawn = [
        np.concatenate(
            pseudo_values(limits(*(part.take(random.integers(0, 150, 150)) for part in (seen, unseen)), novel))
        ).mean()
        for _ in range(500)
    ]
    assert value_B.std() / 300**0.5 == pytest.approx(np.std(drawn), rel=0.12)


def test_only_runs_with_novel_classes_among_all_have_a_curve():
    seen, unseen = random_splits(10, 1.0)
    novel = Predictions(["n", "m"], unseen.target_B - 2, unseen.scores_BK[:, 2:])
    run = {("test_among_all", "ordered"): seen, ("novel_among_all", "ordered"): unseen, ("novel", "ordered"): novel}
    ((frame_order, first, second, labels),) = both_splits(run)
    assert (frame_order, first, second, labels) == ("ordered", seen, unseen, {"n", "m"})
    assert not list(both_splits({("test", "ordered"): seen, ("novel", "ordered"): novel}))
