"""Intervals of a metric of one run and of means over seeds: at the ends, by group, and against simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from kinetext.evaluation.intervals import (
    Estimate,
    mean_over_datasets,
    mean_variance,
    metric_interval,
    share_interval,
)
from kinetext.evaluation.metrics.mean_class_accuracy import MeanClassAccuracy
from kinetext.evaluation.metrics.mean_rank import MeanRank
from kinetext.evaluation.metrics.recall import Recall
from kinetext.evaluation.metrics.top_k import TopK
from kinetext.evaluation.predictions import Predictions
from kinetext.evaluation.retrieval import rank_queries
from kinetext.evaluation.seed_means import (
    SeedVariance,
    add_variances,
    clip_parts,
    mean_over_seeds,
    pool_seeds,
)


def coin(num_clips, num_right):
    """Two classes, the first `num_right` clips right."""
    return outcomes(np.arange(num_clips) < num_right)


def outcomes(right_B):
    """Two classes, each clip right or wrong."""
    first_B = np.asarray(right_B, float)
    return Predictions(["a", "b"], np.zeros(len(first_B), int), np.stack([first_B, 0.5 + 0 * first_B], axis=1))


def width(interval):
    return interval[1] - interval[0]


def test_the_interval_has_the_width_of_the_binomial_distribution():
    low, high, variance, freedom, groups = metric_interval(TopK(), coin(400, 300))
    assert (variance, freedom, groups) == (pytest.approx(0.75 * 0.25 / 399), float("inf"), 400)
    wanted = 1.96 * math.sqrt(0.75 * 0.25 / 400)  # 0.042
    assert (0.75 - low, high - 0.75) == (pytest.approx(wanted, rel=0.05), pytest.approx(wanted, rel=0.05))


def test_fewer_clips_or_a_higher_level_give_a_wider_interval():
    assert width(metric_interval(TopK(), coin(40, 30))) > 2 * width(metric_interval(TopK(), coin(400, 300)))
    assert width(metric_interval(TopK(), coin(400, 300), level=0.5)) < 0.6 * width(
        metric_interval(TopK(), coin(400, 300))
    )


def test_the_interval_without_clips_is_nan():
    assert all(math.isnan(number) for number in metric_interval(TopK(), coin(0, 0))[:3])


def test_all_of_180_right_is_no_certainty():
    low, high = metric_interval(TopK(), coin(180, 180))[:2]
    assert (low, high) == (pytest.approx(stats.beta.ppf(0.025, 180.5, 0.5)), 1.0)  # 98.6 %
    low, high = metric_interval(TopK(), coin(180, 0))[:2]
    assert (low, high) == (0.0, pytest.approx(stats.beta.ppf(0.975, 0.5, 180.5)))


@pytest.mark.parametrize("metric", [MeanClassAccuracy(), Recall()])
def test_a_share_that_is_no_mean_over_clips_has_no_certainty_either(metric):
    sample = coin(50, 50) if metric.task == "classes" else rank_queries(np.eye(50), np.arange(50))["t2v"]
    low, high, _, _, groups = metric_interval(metric, sample, draws=50)
    assert (low, high, groups) == (pytest.approx(stats.beta.ppf(0.025, 50.5, 0.5)), 1.0, 50)


def test_a_share_that_is_no_mean_has_the_interval_of_the_equal_share_that_is_one():
    mean = metric_interval(TopK(), coin(400, 300))  # one class: mean class accuracy is top1
    other = metric_interval(MeanClassAccuracy(), coin(400, 300), draws=2000)
    assert (other.low, other.high) == (pytest.approx(mean.low, abs=0.004), pytest.approx(mean.high, abs=0.004))


def test_five_equal_clips_of_a_film_are_one():
    right_G = np.arange(80) < 60
    films = metric_interval(TopK(), outcomes(np.repeat(right_G, 5)), group_B=np.repeat(np.arange(80), 5))
    single = metric_interval(TopK(), outcomes(right_G))
    assert films.variance == pytest.approx(single.variance)
    assert width(films) == pytest.approx(width(single), rel=0.04)  # a little wider: the variance is estimated
    assert (films.groups, films.low < single.low) == (80, True)


def test_a_metric_that_is_no_mean_draws_whole_films():
    right_G = np.arange(80) < 60
    films = outcomes(np.repeat(right_G, 5))
    grouped = metric_interval(MeanClassAccuracy(), films, group_B=np.repeat(np.arange(80), 5))
    assert width(grouped) == pytest.approx(width(metric_interval(TopK(), outcomes(right_G))), rel=0.15)
    ranks = rank_queries(np.random.default_rng(0).normal(size=(60, 60)), np.arange(60))["t2v"]
    order = np.argsort(ranks.rank_Q)  # clips of a film have like ranks
    by_film = metric_interval(MeanRank(), ranks.take(order), group_B=np.arange(60) // 5, draws=300)
    assert width(by_film) > 1.5 * width(metric_interval(MeanRank(), ranks.take(order), draws=300))


def test_groups_that_say_nothing_do_not_narrow_the_interval():
    value_B = np.tile([0.0, 1.0], 50)
    pairs = np.repeat(np.arange(50), 2)  # one right and one wrong in each: less than by chance
    assert mean_variance(value_B, pairs)[0] == pytest.approx(0.25 / 100)


def test_a_single_film_is_as_one_clip():
    low, high, variance, _, groups = metric_interval(TopK(), coin(20, 10), group_B=np.zeros(20, int))
    assert (math.isnan(variance), groups) == (True, 1)
    assert (low, high) == (pytest.approx(stats.beta.ppf(0.025, 1, 1)), pytest.approx(stats.beta.ppf(0.975, 1, 1)))


@pytest.mark.parametrize(
    ("p", "clips", "icc"), [(0.99, 180, 0.0), (0.9, 180, 0.4), (0.5, 2000, 0.2), (0.99, 2000, 0.4)]
)
def test_the_interval_of_one_run_covers(p, clips, icc):
    """95 % promised; 800 runs, so 93 % is 2.6 deviations below."""
    random, group_B = np.random.default_rng(1), np.arange(clips) // (5 if icc else 1)
    groups, covered = group_B.max() + 1, 0
    for _ in range(800):
        p_G = random.beta(p * (1 - icc) / icc, (1 - p) * (1 - icc) / icc, groups) if icc else np.full(groups, p)
        value_B = (random.random(clips) < p_G[group_B]).astype(float)
        low, high = share_interval(value_B.mean(), *mean_variance(value_B, group_B), groups)
        covered += low <= p <= high
    assert 0.92 < covered / 800 < 0.99


def of_seeds(*values, clips=1000):
    """Estimates of seeds, as measure_run gives them."""
    estimates = []
    for value in values:
        low, high, variance, freedom, groups = metric_interval(TopK(), coin(clips, round(value * clips)))
        ends = {"low": low, "high": high, "least": value, "most": value}
        spread = {"variance": variance, "freedom": freedom, "groups": groups}
        estimates.append(Estimate(value=value, **ends, **spread, seeds=1, clips=clips))
    return estimates


def test_from_three_seeds_on_the_interval_has_the_variance_of_training():
    seeds = of_seeds(0.70, 0.75, 0.80)
    between = pool_seeds([[0.70, 0.75, 0.80], [0.5, 0.5, 0.56]])
    assert (between.variance, between.freedom) == (pytest.approx((0.0025 + 0.0012) / 2), 4)
    mean = mean_over_seeds(seeds, between)
    clip = np.mean([seed.variance for seed in seeds])
    total = clip + between.variance / 3
    freedom = 4 * (total / (between.variance / 3)) ** 1.5
    half = stats.t.ppf(0.975, freedom) * total**0.5
    assert (mean.low, mean.high) == (pytest.approx(0.75 - half, abs=0.01), pytest.approx(0.75 + half, abs=0.01))
    assert width((mean.low, mean.high)) > 2 * width((seeds[1].low, seeds[1].high))


def test_two_seeds_or_equal_ones_are_about_these_weights():
    seeds = of_seeds(0.70, 0.80)
    mean = mean_over_seeds(seeds, pool_seeds([[0.70, 0.80]]))
    assert (mean.low, mean.high) == (np.mean([s.low for s in seeds]), np.mean([s.high for s in seeds]))
    same = of_seeds(0.7, 0.7, 0.7)
    assert mean_over_seeds(same, None).low == pytest.approx(same[0].low)


def test_three_seeds_that_are_all_right_are_no_certainty():
    mean = mean_over_seeds(of_seeds(1.0, 1.0, 1.0, clips=180), pool_seeds([[1.0, 1.0, 1.0], [0.9, 0.92, 0.94]]))
    assert 0.9 < mean.low < 0.99
    assert mean.high == 1.0


def test_degrees_of_freedom_are_satterthwaites_with_a_smaller_power_for_seeds():
    def freedom(clip, seeds):
        return pytest.approx(1 / (clip**2 / 9 + seeds**1.5 / 4))

    assert add_variances(2.0, 9, SeedVariance(3.0, 4), 3) == (3.0, freedom(2 / 3, 1 / 3))
    assert add_variances(0.0, 9, SeedVariance(3.0, 4), 3) == (1.0, pytest.approx(4))
    assert add_variances(2.0, 9, SeedVariance(0.0, 0), 3) == (2.0, pytest.approx(9))
    assert add_variances(2.0, float("inf"), SeedVariance(0.0, 8), 3) == (2.0, float("inf"))
    assert add_variances(0.0, 9, SeedVariance(0.0, 8), 3) == (0.0, float("inf"))
    less = add_variances(2.0, 9, SeedVariance(3.0, 4, interaction=1.5), 3)  # 1.5 / 3 is training, 3 / 3 varies
    assert less == (2.5, freedom(2 / 2.5, 1 / 2.5))
    assert add_variances(2.0, 9, SeedVariance(3.0, 4, interaction=4.0), 3) == (2.0, pytest.approx(9))


def test_a_row_near_one_keeps_the_degrees_of_freedom_of_the_rows_that_vary_more():
    """Pooled with rows near one half, the variance between seeds is many times that of a row at 99.8 %."""
    pooled = SeedVariance(2.06e-4, 10, interaction=1.95e-4)
    total, freedom = add_variances(1.3e-5, 159, pooled, 3)
    assert freedom == pytest.approx(1 / ((1.3e-5 / total) ** 2 / 159 + 1 / 10))
    low, high = share_interval(0.998, total, freedom, 160)
    assert 0.95 < low < 0.99 < high <= 1.0


def test_a_row_far_from_the_others_has_its_part_of_the_pooled_variance_or_its_own():
    pooled = pool_seeds([[0.45, 0.5, 0.55], [0.99, 0.99, 0.99]])
    assert pooled.spread == pytest.approx((0.25 + 0.0099) / 2)
    assert pooled.for_row([0.99] * 3, 0.0).variance == pytest.approx(pooled.variance * 0.0099 / pooled.spread)
    assert pooled.for_row([0.45, 0.5, 0.55], 0.0) == pooled
    assert pooled.for_row([1.0] * 3, 0.0).variance == 0
    assert tuple(pooled.for_row([0.95, 0.99, 1.0], 1.0)) == pytest.approx((7e-4, 2, 7e-4, 0.0, False))
    near_one = pool_seeds([[0.99, 0.99, 0.98], [0.98, 0.99, 0.98], [0.97, 0.98, 0.99], [0.4, 0.5, 0.6]])
    assert tuple(near_one.for_row([0.4, 0.5, 0.6], 1e-4)) == pytest.approx((0.01, 2, 1e-4, 0.0, False))
    ranks = pool_seeds([[3.0, 4.0, 5.0]])
    assert ranks.for_row([0.99] * 3, 0.0) == ranks


def test_what_clips_add_is_that_of_a_two_way_table():
    """y = training + clip + both: the mean squares of an analysis of variance without repeats."""
    value_SB = np.random.default_rng(0).normal(size=(4, 60)) + np.random.default_rng(1).normal(size=60)
    parts = clip_parts(value_SB)
    mean_B, mean_S1 = value_SB.mean(axis=0), value_SB.mean(axis=1, keepdims=True)
    residual = ((value_SB - mean_B - mean_S1 + value_SB.mean()) ** 2).sum() / (3 * 59)
    assert parts.interaction == pytest.approx(residual / 60)
    assert (parts.variance, parts.groups) == (pytest.approx(mean_B.var(ddof=1) / 60), 60)
    films = clip_parts(np.repeat(value_SB, 5, axis=1), np.repeat(np.arange(60), 5))  # five equal clips each
    assert (films.interaction, films.groups) == (pytest.approx(parts.interaction), 60)
    assert films.variance == pytest.approx(parts.variance)
    assert clip_parts(np.ones((3, 0))).groups == 0


def test_seeds_that_differ_as_clips_do_add_no_variance_of_training():
    """Seeds that answer each clip anew: the means of seeds differ by what clips explain."""
    value_SB = (np.random.default_rng(3).random((3, 400)) < 0.7).astype(float)
    parts, values = clip_parts(value_SB), value_SB.mean(axis=1).tolist()
    seeds = of_seeds(*values, clips=400)
    mean = mean_over_seeds(seeds, SeedVariance(parts.interaction * 0.9, 2, parts.interaction), parts)
    half = 1.96 * (0.7 * 0.3 / 1200) ** 0.5
    assert width((mean.low, mean.high)) == pytest.approx(2 * half, rel=0.1)
    assert width((mean.low, mean.high)) < 0.7 * width((seeds[0].low, seeds[0].high))


def test_two_seeds_have_the_interval_of_their_mean_over_clips():
    value_SB = (np.random.default_rng(4).random((2, 500)) < 0.7).astype(float)
    seeds = of_seeds(*value_SB.mean(axis=1), clips=500)
    mean = mean_over_seeds(seeds, pool_seeds([value_SB.mean(axis=1)]), clip_parts(value_SB))
    assert width((mean.low, mean.high)) == pytest.approx(2 * 1.96 * value_SB.mean(axis=0).std() / 500**0.5, rel=0.05)


def test_the_interaction_is_pooled_by_degrees_of_freedom():
    between = pool_seeds([[0.1, 0.2, 0.3], [0.5, 0.5]], [0.004, 0.001])
    assert (between.freedom, between.interaction) == (3, pytest.approx((2 * 0.004 + 0.001) / 3))
    assert between.of_mean(3) == pytest.approx((between.variance - 0.003) / 3)


def test_lists_of_the_same_clips_move_together():
    ends = {"low": 0.66, "high": 0.74, "least": 0.7, "most": 0.7}
    parts = [Estimate(value=0.7, **ends, seeds=1, clips=500)] * 3
    apart, same = mean_over_datasets(parts), mean_over_datasets(parts, np.ones((3, 3)))
    assert (apart.high - 0.7, same.high - 0.7) == (pytest.approx(0.04 / 3**0.5), pytest.approx(0.04))


def test_a_rank_over_three_seeds_has_students_quantile_and_at_least_its_interval_over_clips():
    ends = {"low": 2.0, "high": 3.0, "least": 2.5, "most": 2.5, "unit": "rank"}
    seeds = [Estimate(value=2.5, **ends, seeds=1, clips=50, variance=0.06, groups=50)] * 3
    same = mean_over_seeds(seeds, pool_seeds([[2.5] * 3]))
    assert (same.low, same.high) == (pytest.approx(2.0), pytest.approx(3.0))
    apart = mean_over_seeds(seeds, pool_seeds([[2.5, 3.5, 1.5]]))
    total = 0.06 + 1 / 3
    half = stats.t.ppf(0.975, 2 * (total * 3) ** 1.5) * total**0.5
    assert (apart.low, apart.high) == (pytest.approx(2.5 - half), pytest.approx(2.5 + half))
