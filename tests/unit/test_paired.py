"""Paired comparisons, checked with scipy's bootstrap and permutation test, and by hand."""

import numpy as np
import pytest
from scipy import stats

from kinetext.evaluation.paired import compare_rows, holm
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
    result = compare_rows([value_BN])
    for a, b in ((0, 1), (0, 2), (1, 2)):
        data = (value_BN[:, a], value_BN[:, b])
        wanted = stats.permutation_test(
            data, lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf
        )
        assert result["p"][a, b] == result["p"][b, a] == pytest.approx(wanted.pvalue)
        assert result["value"][a, b] == pytest.approx(np.mean(data[0] - data[1]))


def test_random_patterns_and_draws_agree_with_scipy():
    value_BN = values(300, [0.0, 0.25])
    result = compare_rows([value_BN])
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
    result = compare_rows([values(40, [0.0, 0.5, 1.0])])
    assert np.allclose(result["value"], -result["value"].T)
    assert np.allclose(result["low"], -result["high"].T)
    assert np.allclose(np.diag(result["p"]), 1)


def test_false_positives_are_rare():
    fair = [compare_rows([values(60, [0.2, 0.2], seed)])["p"][0, 1] for seed in range(0, 120, 2)]
    assert np.mean(np.array(fair) <= 0.05) < 0.15  # 5 % promised; 60 cases, so 9 of them are four deviations off


def test_data_sets_have_equal_weights_and_narrow_the_interval():
    many, few = values(400, [0.0, 0.5]), values(40, [0.0, 0.5], seed=5)
    result = compare_rows([many, few])
    apart = [np.mean(part[:, 1] - part[:, 0]) for part in (many, few)]
    assert result["value"][1, 0] == pytest.approx(np.mean(apart))
    alone = compare_rows([few])
    assert result["high"][1, 0] - result["low"][1, 0] < alone["high"][1, 0] - alone["low"][1, 0]


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
