"""What tables average: draws of few-shot clips, data sets that share clips, harmonic means, ranks over data sets."""

import numpy as np
import pytest
from scipy import stats

from kinetext.evaluation.intervals import Estimate, harmonic_mean
from kinetext.evaluation.overlap import merged, overlaps
from kinetext.evaluation.paired import compare_rows
from kinetext.evaluation.paired_rows import PairedRows
from kinetext.report.differences import compared_outcomes, difference_rows, pools
from kinetext.report.draws import add_draws, combined_draws
from kinetext.report.estimates import averaged_comparisons, estimates_of, left_out_sentence, pooled_comparisons
from kinetext.report.harmonic import harmonic_outcome, harmonic_outcomes
from kinetext.report.keys import Comparison, RowKey, num_draws
from kinetext.report.novel import harmonic_means
from kinetext.report.outcomes import Measured, Outcome
from kinetext.report.ranks import mean_ranks
from kinetext.report.variances import variance_rows

A, B = RowKey("tiny", "a", "t"), RowKey("tiny", "b", "t")


def outcome(values, ids=None):
    return Outcome(tuple(ids or map(str, range(len(values)))), np.array(values, float))


def address(protocol, split="test", dataset="d", metric="top1"):
    return Measured(Comparison(dataset, protocol, split), metric, "ordered")


def share(value):
    return Estimate(value=value, low=value - 0.1, high=value + 0.1, least=value, most=value, seeds=1, clips=80)


# ---- draws of few-shot clips


def test_draws_of_a_protocol_are_one_comparison():
    names = ["few_shot_4", "few_shot_4_draw1", "few_shot_4_draw2", "few_shot_8", "supervised", "base_to_novel_4_draw1"]
    (result,) = combined_draws(Comparison("d", name, "test") for name in names).items()
    assert result[0].protocol == "few_shot_4 mean of 3 draws"
    assert [part.protocol for part in result[1]] == names[:3]
    assert (num_draws(result[0]), num_draws(result[1][0])) == (3, 1)


def test_a_draw_is_the_mean_of_its_seeds():
    first, second = (outcome([1, 0, 1]), outcome([1, 1, 1])), (outcome([0, 0, 0]), outcome([0, 0, 1]))
    measured = {address("few_shot_4"): {A: [*first], B: [*second]}, address("few_shot_4_draw1"): {A: [*second]}}
    ((_, rows),) = (item for item in add_draws(measured).items() if item[0] not in measured)
    assert list(rows) == [A]  # b has one draw only
    assert [draw.value_B.tolist() for draw in rows[A]] == [[1, 0.5, 1], [0, 0, 0.5]]
    assert [draw.seeds for draw in rows[A]] == [2, 2]


def test_the_difference_of_means_over_draws_says_so():
    measured = {
        address(f"few_shot_4_draw{draw}"): {A: [outcome([1, 1, 0, draw])], B: [outcome([0, 0, 1, 0])]}
        for draw in range(3)
    }
    rows = [row for row in difference_rows(compared_outcomes(add_draws(measured))) if row["method"] == "a"]
    whole = next(row for row in rows if row["protocol"] == "few_shot_4 mean of 3 draws")
    assert (whole["draws"], whole["seeds"], whole["methods"]) == (3, 1, True)
    assert whole["value"] == pytest.approx(np.mean([row["value"] for row in rows if row is not whole]))


def test_draws_of_a_harmonic_mean_have_the_seeds_of_a_draw():
    measured = {
        address(f"base_to_novel_4_draw{draw}", split): {A: [accurate(0.8)] * 2, B: [accurate(0.6)] * 2}
        for draw in range(3)
        for split in ("test", "novel")
    }
    rows = difference_rows(compared_outcomes(add_draws(measured)))
    whole = [row for row in rows if row["metric"] == "harmonic_mean" and row["draws"]]
    assert [(row["draws"], row["seeds"]) for row in whole] == [(3, 2), (3, 2)]


def test_estimates_average_draws_with_the_variance_between_them():
    columns = {"dataset": "d", "split": "test", "backbone": "tiny", "method": "a", "texts": "t", "metric": "top1"}
    columns |= {"frame_order": "ordered", "clips": 1000, "variance": 2e-4, "freedom": None, "groups": 1000}
    rows = [
        {**columns, "protocol": f"few_shot_4_draw{draw}", "value": value + seed / 100, "low": 0.5, "high": 0.7}
        for draw, value in enumerate((0.5, 0.6, 0.7))
        for seed in (-1, 1)
    ]
    estimates = estimates_of(rows)
    mean = estimates[Comparison("d", "few_shot_4 mean of 3 draws", "test")]["top1", "ordered"][A]
    assert (mean.value, mean.seeds, mean.draws) == (pytest.approx(0.6), 2, 3)
    assert (mean.least, mean.most) == (pytest.approx(0.5), pytest.approx(0.7))
    half = stats.t.ppf(0.975, 2) * (0.01 / 3 + 2e-4) ** 0.5  # three draws that deviate by 0.1
    assert mean.high - mean.low == pytest.approx(2 * half, rel=0.25)
    one = estimates[Comparison("d", "few_shot_4_draw0", "test")]["top1", "ordered"][A]
    assert (one.seeds, one.draws) == (2, 1)


@pytest.mark.parametrize(
    ("protocols", "seeds", "moves", "added"),
    [
        (["base_to_novel_4", "base_to_novel_4_draw1", "base_to_novel_4_draw2"], 1, 0.02, True),
        (["base_to_novel_4", "base_to_novel_4_draw1"], 1, 0.02, False),
        (["base_to_novel"], 3, 0.02, True),
        (["base_to_novel"], 3, 0.0, False),  # nothing was trained: the three seeds are one
    ],
)
def test_widths_of_a_harmonic_mean_are_added_if_both_intervals_cover_training(protocols, seeds, moves, added):
    columns = {"dataset": "d", "backbone": "tiny", "method": "a", "texts": "t", "metric": "top1", "clips": 1000}
    columns |= {"frame_order": "ordered", "low": 0.46, "high": 0.54, "variance": 4e-4, "groups": 1000}
    repeated = [(protocol, seed) for protocol in protocols for seed in range(seeds)]
    rows = [
        {**columns, "protocol": protocol, "split": split, "value": 0.5 + moves * (number % 3)}
        for number, (protocol, _) in enumerate(repeated)
        for split in ("test", "novel")
    ]
    estimates = estimates_of(rows)
    novel = next(c for c in estimates if c.split == "novel" and num_draws(c) == len(protocols))
    base, new = (estimates[novel._replace(split=split)]["top1", "ordered"][A] for split in ("test", "novel"))
    mean = harmonic_means(estimates, novel, "top1")["harmonic_mean"][A]
    below = [base.value - 2 * base.value * part.low / (base.value + part.low) for part in (base, new)]
    width = sum(below) if added else (below[0] ** 2 + below[1] ** 2) ** 0.5
    assert mean.value - mean.low == pytest.approx(width)


def test_clip_variances_are_those_of_rows_with_several_seeds():
    seeds = [outcome([1, 0, 1, np.nan]), outcome([1, 1, 1, np.nan])]
    (row,) = variance_rows({address("p"): {A: seeds, B: seeds[:1]}})
    assert (row["method"], row["groups"], row["frame_order"]) == ("a", 3, "ordered")
    assert row["variance"] == pytest.approx(np.var([1, 0.5, 1], ddof=1) / 3)


def test_a_draw_with_rows_that_others_lack_is_shown_beside_the_mean():
    cells, protocols = {("top1", "ordered"): {A: share(0.5)}}, ["few_shot_4", "few_shot_4_draw1"]
    first, second = (Comparison("d", protocol, "test") for protocol in protocols)
    whole = first._replace(protocol="few_shot_4 mean of 2 draws")
    estimates = {first: {("top1", "ordered"): {A: share(0.5), B: share(0.9)}}, second: cells, whole: cells}
    assert averaged_comparisons(estimates, {}) == {second}
    assert left_out_sentence(estimates, {}, whole) == (
        "Not in this mean, because not all of its draws have them: b · t."
    )
    assert left_out_sentence(estimates, {}, first) == ""


# ---- pairs of a backbone, harmonic means


def test_pairs_that_depend_on_the_backbone_are_compared_within_it():
    other = A._replace(backbone="large")
    rows = {key: [outcome(np.arange(6) % 2)] for key in (A, B, other)}
    measured = {address("p", metric=f"pair_accuracy:{rule}"): rows for rule in ("features", "declared")}
    result = difference_rows(compared_outcomes(measured))
    pairs = {(row["metric"], row["backbone"], row["than_backbone"]) for row in result}
    assert ("pair_accuracy:declared", "tiny", "large") in pairs
    assert {pair for pair in pairs if pair[0] == "pair_accuracy:features"} == {
        ("pair_accuracy:features", "tiny", "tiny")
    }


def test_clips_that_a_metric_leaves_out_do_not_count():
    rows = {A: [outcome([1, 0, np.nan, 1])], B: [outcome([0, 0, np.nan, 1])]}
    result = difference_rows(compared_outcomes({address("p", metric="pair_accuracy:declared"): rows}))
    assert (result[0]["clips"], result[0]["value"]) == (3, pytest.approx(1 / 3))


def test_the_harmonic_mean_varies_as_that_of_drawn_clips():
    random = np.random.default_rng(0)
    base, novel = (random.random(n) < p for n, p in ((300, 0.8), (120, 0.4)))
    value_B = harmonic_outcome(outcome(base), outcome(novel)).value_B
    a, b = base.mean(), novel.mean()
    assert value_B.mean() == pytest.approx(2 * a * b / (a + b))

    def drawn():
        a, b = (part[random.integers(0, len(part), len(part))].mean() for part in (base, novel))
        return 2 * a * b / (a + b)

    assert value_B.std() / 420**0.5 == pytest.approx(np.std([drawn() for _ in range(1000)]), rel=0.1)
    assert harmonic_outcome(outcome([0, 0]), outcome([0, 0])).value_B.tolist() == [0, 0, 0, 0]


def test_harmonic_means_are_tested_beside_the_novel_clips():
    right = outcome([1, 1, 1, 0])
    wrong = outcome([0, 1, 0, 0])
    rows = {A: [right], B: [wrong]}
    tested = compared_outcomes({address("base_to_novel", split): rows for split in ("test", "novel")})
    result = [row for row in difference_rows(tested) if row["metric"] == "harmonic_mean" and row["method"] == "a"]
    assert [(row["split"], row["value"], row["clips"]) for row in result] == [("novel", pytest.approx(0.5), 8)]


def accurate(accuracy):
    return outcome(np.arange(40) < round(40 * accuracy))


def test_a_mean_over_data_sets_tests_the_harmonic_mean_of_its_cells():
    """The mean of the harmonic means of both data sets would call the other row better."""
    accuracies = {A: [(1.0, 0.2), (0.2, 1.0)], B: [(0.5, 0.5), (0.5, 0.5)]}
    measured = {
        address("base_to_novel", split, f"d{d}"): {key: [accurate(parts[d][i])] for key, parts in accuracies.items()}
        for d in range(2)
        for i, split in enumerate(("test", "novel"))
    }
    result = [row for row in difference_rows(compared_outcomes(measured)) if row["metric"] == "harmonic_mean"]
    mean, *of_data_sets = (row for row in result if row["method"] == "a")
    ours, theirs = (harmonic_mean(*map(share, np.mean(accuracies[key], axis=0))).value for key in (A, B))
    assert (mean["pooled"], mean["value"]) == (["d0", "d1"], pytest.approx(ours - theirs))
    assert mean["value"] == pytest.approx(0.1)
    assert [row["value"] for row in of_data_sets] == pytest.approx([1 / 3 - 0.5] * 2)
    assert (mean["least"], mean["most"]) == pytest.approx((1 / 3 - 0.5, 1 / 3 - 0.5))


def test_seeds_have_the_harmonic_mean_of_their_mean_accuracies():
    base, novel = [accurate(0.9), accurate(0.5)], [accurate(0.3), accurate(0.7)]
    comparisons = {
        (address("base_to_novel", split).comparison, "top1"): {A: seeds}
        for split, seeds in (("test", base), ("novel", novel))
    }
    (rows,) = harmonic_outcomes(comparisons).values()
    assert np.mean([seed.value_B for seed in rows[A]]) == pytest.approx(2 * 0.7 * 0.5 / 1.2)


# ---- data sets that share clips


def fold(first, last, source=0, seed=0):
    value_BN = (np.random.default_rng(seed).random((300, 2)) < [0.5, 0.7]).astype(float)[first:last]
    return PairedRows(value_BN, clip_ids=[f"clip{b}" for b in range(first, last)])


def test_the_overlap_is_the_share_of_clips_in_common():
    strata = [fold(0, 100), fold(50, 150), fold(50, 150)]
    share_DD = overlaps(strata, ["v", "v", "w"])
    assert share_DD.tolist() == [[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1]]


def test_the_same_list_twice_is_one_data_set():
    strata = [fold(0, 100), fold(0, 100)]
    twice = compare_rows(strata, merged=merged(strata, ["v", "v"]))
    once, apart = compare_rows(strata[:1]), compare_rows(strata)
    widths = [float(result["high"][0, 1] - result["low"][0, 1]) for result in (once, twice, apart)]
    assert widths[1] == pytest.approx(widths[0], rel=0.02)
    assert widths[2] < 0.75 * widths[0]  # as if they were other clips
    assert twice["p"][0, 1] == pytest.approx(once["p"][0, 1], rel=0.2, abs=1e-3)


def test_lists_without_common_clips_are_as_other_data_sets():
    strata = [fold(0, 100), fold(100, 200)]
    whole, apart = compare_rows(strata, merged=merged(strata, ["v", "v"])), compare_rows(strata)
    assert whole["value"][0, 1] == pytest.approx(apart["value"][0, 1])
    assert whole["high"][0, 1] == pytest.approx(apart["high"][0, 1], abs=0.01)


def test_clips_of_a_group_in_two_lists_are_one_group():
    values = np.ones((2, 2))
    first = PairedRows(values, np.array([0, 0]), clip_ids=["a", "b"])
    second = PairedRows(values, np.array([7, 8]), clip_ids=["b", "c"])
    assert merged([first, second], ["v", "v"]).group_B.tolist() == [0, 0, 0, 1]
    assert len(set(merged([first, second], ["v", "w"]).group_B.tolist())) == 3


def test_differences_know_the_lists_of_one_source():
    rows = {A: [outcome(np.arange(40) % 2)], B: [outcome(np.arange(40) % 3 > 0)]}
    measured = {address("p", dataset=name): rows for name in ("fold1", "fold2")}
    apart = difference_rows(compared_outcomes(measured))
    same = difference_rows(compared_outcomes(measured), {"fold1": "v", "fold2": "v"})
    widths = [next(row["high"] - row["low"] for row in result if row.get("pooled")) for result in (apart, same)]
    assert widths[1] > 1.3 * widths[0]
    pooled = next(row for row in same if row.get("pooled"))
    assert (pooled["sources"], pooled["overlap_DD"]) == (["v", "v"], [1, 1, 1, 1])


def test_a_metric_that_some_data_sets_lack_is_not_averaged():
    rows = {A: [outcome([1, 0])], B: [outcome([1, 1])]}
    comparisons = {(Comparison(f"d{i}", "p", "test"), "top1"): rows for i in range(3)}
    comparisons |= {(Comparison(f"d{i}", "p", "test"), "pair_accuracy:declared"): rows for i in range(2)}
    assert [{metric for _, metric in pool} for pool in pools(comparisons)] == [{"top1"}]


def test_means_of_single_label_and_of_multi_label_data_sets_have_two_names():
    rows = {A: [outcome([1, 0])], B: [outcome([1, 1])]}
    metrics = {"d1": "top1", "d2": "top1", "m1": "lrap", "m2": "lrap"}
    measured = {address("p", dataset=name, metric=metric): rows for name, metric in metrics.items()}
    pooled = pooled_comparisons(
        [row | {"pooled": row.get("pooled")} for row in difference_rows(compared_outcomes(measured))]
    )
    assert {comparison.dataset: names for comparison, names in pooled.items()} == {
        "mean of 2": ["d1", "d2"],
        "mean of 2 multi-label": ["m1", "m2"],
    }


# ---- ranks


def test_mean_ranks_and_the_critical_difference_by_hand():
    """Demsar's table 5: q = 2.343 for three rows; his formula for six data sets."""
    values = {A: [0.9, 0.8, 0.7, 0.9, 0.5, 0.6], B: [0.8, 0.9, 0.6, 0.8, 0.5, 0.5], A._replace(texts="u"): [0.1] * 6}
    ranks = mean_ranks(values, list("uvwxyz"))
    assert list(ranks.rank_by_key.values()) == pytest.approx([7.5 / 6, 10.5 / 6, 3])
    assert ranks.critical == pytest.approx(2.343 * (3 * 4 / (6 * 6)) ** 0.5, abs=1e-3)
    assert mean_ranks(values, list("uuvwxy")) is None  # two lists of one source: five data sets
    assert mean_ranks({A: [0.5] * 7, B: [0.5] * 7}, list("uuvwxyz")).datasets == 6
