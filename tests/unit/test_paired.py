"""Paired comparisons, checked with scipy's bootstrap and permutation test, and by hand."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from kinetext.evaluation.paired import compare_rows, holm
from kinetext.evaluation.paired_rows import PairedRows, Training, about_methods, seed_range
from kinetext.evaluation.seed_means import clip_parts
from kinetext.report.differences import difference_rows, pools
from kinetext.report.keys import Comparison, RowKey
from kinetext.report.outcomes import Outcome


def values(clips, shares, seed=0):
    """value_BN: right or wrong, each row with its own share of right ones; clips differ in how hard they are."""
    hard_B1 = np.random.default_rng(seed).normal(size=(clips, 1))
    noise_BN = np.random.default_rng(seed + 1).normal(size=(clips, len(shares)))
    return (hard_B1 + noise_BN < np.array(shares)).astype(float)


def test_few_clips_give_scipys_exact_test():
    value_BN = values(10, [0.0, 0.8, -0.6])
    result = compare_rows([PairedRows(value_BN)])
    for a, b in ((0, 1), (0, 2), (1, 2)):
        data = (value_BN[:, a], value_BN[:, b])
        wanted = stats.permutation_test(
            data, lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf
        )
        assert result["p"][a, b] == result["p"][b, a] == pytest.approx(wanted.pvalue)
        assert result["value"][a, b] == pytest.approx(np.mean(data[0] - data[1]))


def test_random_patterns_and_draws_agree_with_scipy():
    value_BN = values(300, [0.0, 0.25])
    result = compare_rows([PairedRows(value_BN)])
    data = (value_BN[:, 0], value_BN[:, 1])
    wanted = stats.permutation_test(
        data, lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=9999, rng=0
    )
    assert result["p"][0, 1] == pytest.approx(wanted.pvalue, abs=0.01)
    interval = stats.bootstrap(
        (data[0] - data[1],), np.mean, n_resamples=4000, method="percentile", rng=0
    ).confidence_interval
    assert (result["low"][0, 1], result["high"][0, 1]) == pytest.approx((interval.low, interval.high), abs=0.012)


def test_differences_are_antisymmetric_and_a_row_equals_itself():
    result = compare_rows([PairedRows(values(40, [0.0, 0.5, 1.0]))])
    assert np.allclose(result["value"], -result["value"].T)
    assert np.allclose(result["low"], -result["high"].T)
    assert np.allclose(np.diag(result["p"]), 1)


def test_false_positives_are_rare():
    fair = [compare_rows([PairedRows(values(60, [0.2, 0.2], seed))])["p"][0, 1] for seed in range(0, 120, 2)]
    assert np.mean(np.array(fair) <= 0.05) < 0.15  # 5 % promised; 60 cases, so 9 of them are four deviations off


def test_data_sets_have_equal_weights_and_narrow_the_interval():
    many, few = values(400, [0.0, 0.5]), values(40, [0.0, 0.5], seed=5)
    result = compare_rows([PairedRows(many), PairedRows(few)])
    apart = [np.mean(part[:, 1] - part[:, 0]) for part in (many, few)]
    assert result["value"][1, 0] == pytest.approx(np.mean(apart))
    alone = compare_rows([PairedRows(few)])
    assert result["high"][1, 0] - result["low"][1, 0] < alone["high"][1, 0] - alone["low"][1, 0]


# ---- all pairs, groups and training


def test_one_clip_more_is_no_certainty():
    """Rows that agree on all of 180 clips are not known to be equal."""
    value_BN = np.ones((180, 2))
    result = compare_rows([PairedRows(value_BN)])
    assert (result["value"][0, 1], result["p"][0, 1]) == (0.0, 1.0)
    assert result["high"][0, 1] == -result["low"][0, 1] == pytest.approx(stats.t.ppf(0.975, 179) / 180, rel=0.01)


def test_equal_clips_of_a_film_count_once():
    value_GN = values(40, [0.0, 0.5])
    films = PairedRows(np.repeat(value_GN, 5, axis=0), np.repeat(np.arange(40), 5))
    one, many = compare_rows([PairedRows(value_GN)]), compare_rows([films])
    assert many["p"][0, 1] == one["p"][0, 1]
    assert many["high"][0, 1] - many["low"][0, 1] == pytest.approx(one["high"][0, 1] - one["low"][0, 1], rel=0.05)


def test_the_correction_counts_all_pairs_whichever_row_is_best():
    """8 equal rows, one seed: the best row was found to differ from another in 9 % of tables."""
    false = [compare_rows([PairedRows(values(60, [0.2] * 8, seed))])["corrected_p"].min() for seed in range(0, 400, 2)]
    assert np.mean(np.array(false) <= 0.05) < 0.095  # 5 % promised; 200 tables, three deviations


def test_the_correction_is_the_largest_t_of_all_pairs_by_hand():
    value_BN = values(8, [0.0, 1.5, -0.6])
    sign_PB = np.array([[1 - 2 * (number >> b & 1) for b in range(8)] for number in range(2**8)])
    pairs = [(0, 1), (0, 2), (1, 2)]
    apart = np.stack([value_BN[:, a] - value_BN[:, b] for a, b in pairs], axis=1)
    t_PM = np.abs(sign_PB @ apart) / np.maximum(np.sqrt((apart**2).sum(axis=0)), 1e-12)
    wanted = [(t_PM.max(axis=1) >= t - 1e-9).mean() for t in t_PM[0]]
    corrected = compare_rows([PairedRows(value_BN)])["corrected_p"]
    assert [corrected[pair] for pair in pairs] == pytest.approx(wanted)


def of_seeds(rows, seeds, deviation, clips=400, start=0):
    """Rows that are equal but for training, which moves each seed by a normal number of clips."""
    random = np.random.default_rng(start)
    hard_B = random.normal(size=clips)
    skill_NS1 = 0.5 + deviation * random.normal(size=(rows, seeds, 1))
    value_NSB = (hard_B + 0.5 * random.normal(size=(rows, seeds, clips)) < skill_NS1).astype(float)
    means = value_NSB.mean(axis=2).tolist()
    return PairedRows(value_NSB.mean(axis=1).T, None, means)


def test_a_method_is_not_told_apart_from_itself_by_its_seeds():
    """Equal methods whose seeds deviate by 4 points: seeds that are averaged and clips alone gave 30 % and more."""
    tables = [of_seeds(2, 3, 0.15, start=start) for start in range(150)]
    false = np.mean([compare_rows([table])["corrected_p"][0, 1] <= 0.05 for table in tables])
    blind = [PairedRows(table.value_BN) for table in tables]  # without the seeds
    assert np.mean([compare_rows([table])["corrected_p"][0, 1] <= 0.05 for table in blind]) > 0.25
    assert false < 0.1


def test_with_three_seeds_the_interval_has_the_variance_of_training():
    table = of_seeds(2, 3, 0.15)
    with_training, blind = compare_rows([table]), compare_rows([PairedRows(table.value_BN)])
    pooled = np.mean([np.var(values, ddof=1) for values in table.seed_values])
    apart_B = table.value_BN[:, 0] - table.value_BN[:, 1]
    clip, trained = np.var(apart_B) / 399 + 1 / 400**2, 2 * pooled / 3
    total = clip + trained
    freedom = 1 / ((clip / total) ** 2 / 399 + (trained / total) ** 1.5 / 4)
    half = stats.t.ppf(0.975, freedom) * (clip + trained) ** 0.5
    assert with_training["high"][0, 1] - with_training["value"][0, 1] == pytest.approx(half, rel=0.01)
    assert with_training["p"][0, 1] > blind["p"][0, 1]


def test_a_large_difference_between_methods_is_found():
    right = of_seeds(2, 3, 0.02)
    apart = PairedRows(right.value_BN * [1.0, 0.5], None, [right.seed_values[0], [v / 2 for v in right.seed_values[1]]])
    assert compare_rows([apart])["corrected_p"][0, 1] <= 0.001


def test_a_row_that_is_not_trained_adds_no_variance():
    table = of_seeds(2, 3, 0.15)
    fixed = PairedRows(table.value_BN, None, [table.seed_values[0], [0.7] * 3], np.array([True, False]))
    (between, _), _ = fixed.seed_variances()
    assert (between.variance, between.freedom) == (pytest.approx(np.var(table.seed_values[0], ddof=1)), 2)
    training = Training.of([fixed])
    assert training.variance_N.tolist() == pytest.approx([between.variance / 3, 0.0])


def test_what_clips_add_to_the_variance_between_seeds_is_not_counted_twice():
    """Seeds that answer each clip anew: the differences of clips already vary by it."""
    value_NSB = (np.random.default_rng(1).random((2, 5, 500)) < 0.6).astype(float)
    table = PairedRows(value_NSB.mean(axis=1).T, None, value_NSB.mean(axis=2).tolist())
    (between, _), _ = table.seed_variances()
    known = replace(table, interaction_N=np.array([clip_parts(value_SB).interaction for value_SB in value_NSB]))
    training = Training.of([known])
    assert training.variance_N == pytest.approx([max(0, between.variance - known.interaction_N.mean()) / 5] * 2)
    assert training.noise_N == pytest.approx([between.variance / 5] * 2)
    widths = [result["high"][0, 1] - result["low"][0, 1] for result in (compare_rows([known]), compare_rows([table]))]
    blind = 2 * 1.96 * (2 * 0.6 * 0.4 / 2500) ** 0.5
    assert blind < widths[0] < 1.3 * blind
    assert widths[1] > 1.2 * widths[0]


def test_two_seeds_of_a_row_make_no_claim_about_methods():
    assert about_methods([of_seeds(2, 3, 0.1)])
    assert not about_methods([of_seeds(2, 3, 0.1), of_seeds(2, 2, 0.1)])
    assert not about_methods([PairedRows(np.ones((3, 2)))])
    one = PairedRows(np.ones((3, 2)), None, [[0.5], [0.1, 0.2, 0.15]])
    assert not about_methods([one])
    assert about_methods([replace(one, untrained_N=np.array([True, False]))])  # one seed of zero-shot stands for all
    assert not about_methods([replace(one, untrained_N=np.array([False, True]))])
    assert about_methods([PairedRows(np.ones((3, 1)), None, [[0.5]], untrained_N=np.array([True]))])
    assert seed_range([PairedRows(np.ones((3, 2)), None, [[0.5, 0.7], [0.1, 0.2, 0.15]])]) == pytest.approx(0.2)
    assert seed_range([PairedRows(np.ones((3, 2)), None, [[0.5], [0.1]])]) is None


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # Holm 1979, steps 4 3 2 1
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def outcome(clips, value_B):
    return Outcome(tuple(clips), np.array(value_B, float))


def test_seeds_are_averaged_and_only_common_clips_count():
    rows = {
        RowKey("tiny", "a", "t"): [outcome("xyz", [1, 1, 0]), outcome("xyz", [1, 0, 0])],
        RowKey("tiny", "b", "t"): [outcome("zyw", [1, 0, 1])],
    }
    (ours, _) = difference_rows({(Comparison("d", "p", "test"), "top1"): rows})
    assert (ours["clips"], ours["seeds"]) == (2, 1)
    assert ours["value"] == pytest.approx(np.mean([0.5 - 0, 0 - 1]))  # y, z


def test_one_seed_of_an_untrained_row_and_three_of_a_trained_one_are_about_methods():
    random = np.random.default_rng(0)
    clips = tuple(map(str, range(200)))
    trained = [outcome(clips, random.random(200) < 0.7) for _ in range(3)]
    frozen = outcome(clips, random.random(200) < 0.4)
    rows = {RowKey("tiny", "stan", "names"): trained, RowKey("tiny", "zero_shot", "names"): [frozen]}
    address = (Comparison("d", "p", "test"), "top1")
    (weights, _) = difference_rows({address: rows})
    rows[RowKey("tiny", "zero_shot", "names")] = [frozen._replace(untrained=True)]
    (methods, _) = difference_rows({address: rows})
    assert (weights["methods"], methods["methods"]) == (False, True)
    assert methods["value"] == weights["value"]
    assert methods["low"] <= weights["low"]
    assert methods["corrected_p"] <= 0.05


def test_data_sets_with_common_rows_are_pooled_and_others_are_not():
    right, wrong = outcome("xy", [1, 1]), outcome("xy", [0, 0])
    rows = {
        (Comparison("d1", "p", "test"), "top1"): {
            RowKey("tiny", "a", "t"): [right],
            RowKey("tiny", "b", "t"): [wrong],
            RowKey("tiny", "only here", "t"): [right],
        },
        (Comparison("d2", "p", "test"), "top1"): {RowKey("tiny", "a", "t"): [right], RowKey("tiny", "b", "t"): [right]},
        (Comparison("d3", "q", "test"), "top1"): {RowKey("tiny", "a", "t"): [right], RowKey("tiny", "b", "t"): [right]},
    }
    assert [sorted(comparison.dataset for comparison, _ in pool) for pool in pools(rows)] == [["d1", "d2"]]
    pooled = [row for row in difference_rows(rows) if row.get("pooled")]
    ahead = next(row for row in pooled if row["method"] == "a")
    assert {row["method"] for row in pooled} == {"a", "b"}
    assert (ahead["dataset"], ahead["value"], ahead["least"], ahead["most"]) == ("mean of 2", 0.5, 0.0, 1.0)
    assert (ahead["pooled"], ahead["clips"]) == (["d1", "d2"], 4)


def test_a_row_far_from_the_others_is_tested_with_its_own_variance_between_seeds():
    """Rows near 1 say little about the training of rows near one half."""
    random, near_half, near_one = np.random.default_rng(0), [0.4, 0.5, 0.6], [0.989, 0.99, 0.991]
    seed_values = [near_half, [0.42, 0.5, 0.58], *[near_one] * 8]
    value_BN = (random.random((2000, 10)) < [0.5] * 2 + [0.99] * 8).astype(float)
    training = Training.of([PairedRows(value_BN, None, seed_values)])
    assert training.noise_N[:2] == pytest.approx([0.01 / 3, 0.0064 / 3])
    assert (training.freedom_E[1:].tolist(), training.estimate_N.tolist()) == ([2, 2], [1, 2] + [0] * 8)
    whole_NN = training.of_pairs()[1] + 1e-12
    assert training.inverse_freedom(whole_NN)[0, 1] == pytest.approx(
        (0.01 / 0.0164) ** 1.5 / 2 + (0.0064 / 0.0164) ** 1.5 / 2
    )
    drawn_PN = training.draw(random, 4000)
    assert drawn_PN.mean(axis=0) == pytest.approx(training.noise_N, rel=0.1)
    assert abs(np.corrcoef(drawn_PN[:, :3].T)[0, 1:]).max() < 0.1 < np.corrcoef(drawn_PN[:, 2:4].T)[0, 1]


def test_degrees_of_freedom_over_data_sets_are_those_of_the_largest_part():
    """Satterthwaite (1946): two data sets of equal variances have twice the degrees of freedom, a noisy one its own."""
    value_BN = (np.random.default_rng(0).random((100, 2)) < 0.5).astype(float)
    calm, noisy = [[0.49, 0.5, 0.51]] * 2, [[0.3, 0.5, 0.7]] * 2
    freedom = [
        Training.of([PairedRows(value_BN, None, seed_values) for seed_values in pool]).freedom_E.tolist()
        for pool in ([calm], [calm, calm], [calm, noisy])
    ]
    assert freedom == [pytest.approx([4]), pytest.approx([8]), pytest.approx([4], rel=0.01)]


def test_a_bad_row_does_not_hide_differences_between_good_ones():
    """Its variance between seeds is not pooled with theirs."""
    good = [[0.949, 0.95, 0.951]] * 6
    value_BN = (np.random.default_rng(0).random((100, 7)) < 0.9).astype(float)
    alone, beside = (
        PairedRows(value_BN[:, : len(rows)], None, rows).seed_variances()[0][0]
        for rows in (good, [*good, [0.4, 0.5, 0.6]])
    )
    assert beside.variance == pytest.approx(alone.variance)
