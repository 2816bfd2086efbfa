"""Means over data sets that test the same trainings (zero_shot_from_DATASET): seed s is one training for all of them."""

import numpy as np
import pytest
from scipy import stats

from kinetext.evaluation.intervals import mean_variance, share_interval
from kinetext.evaluation.paired import compare_rows
from kinetext.evaluation.paired_rows import PairedRows, Training, average_seeds
from kinetext.evaluation.seed_means import add_variances, clip_parts, pool_seeds
from kinetext.report.differences import compared_outcomes, difference_rows
from kinetext.report.estimates import all_estimates, pooled_comparisons
from kinetext.report.keys import Comparison, RowKey
from kinetext.report.outcomes import Measured, Outcome
from kinetext.report.variances import variance_rows

A, B = RowKey("tiny", "a", "t"), RowKey("tiny", "b", "t")
SHARED, APART = "zero_shot_from_source", "supervised"
CLIPS = 400


def stratum(seed_values, clips=100, start=0, **known):
    """Return rows with these means of seeds, on clips of their own."""
    value_BN = (np.random.default_rng(start).random((clips, len(seed_values))) < 0.5).astype(float)
    return PairedRows(value_BN, None, seed_values, **known)


def test_equal_deviations_on_two_data_sets_have_the_variance_of_one():
    rows = [[0.4, 0.5, 0.6], [0.45, 0.5, 0.55]]
    lower = [[value - 0.1 for value in values] for values in rows]
    both = [stratum(rows), stratum(lower, start=1)]
    one, shared, apart = Training.of(both[:1]), Training.of(both, shared=True), Training.of(both)
    variance = (0.01 + 0.0025) / 2 / 3  # pooled over two rows of three seeds
    for training in (one, shared):
        assert training.variance_N == pytest.approx([variance] * 2)
        assert training.noise_N == pytest.approx([variance] * 2)
        assert training.freedom_E == pytest.approx([4])  # of each row the number of seeds - 1
    assert apart.noise_N == pytest.approx([variance / 2] * 2)
    assert apart.freedom_E == pytest.approx([8])


def test_the_variance_is_that_of_the_means_of_seeds_over_data_sets():
    values_DNS = np.random.default_rng(0).uniform(0.4, 0.6, size=(3, 2, 5))
    interaction_DN = np.full((3, 2), 9e-4)
    strata = [
        stratum(values_NS.tolist(), start=d, interaction_N=interaction_DN[d]) for d, values_NS in enumerate(values_DNS)
    ]
    training = Training.of(strata, shared=True)
    variance = np.var(values_DNS.mean(axis=0), axis=1, ddof=1).mean()
    assert training.noise_N == pytest.approx([variance / 5] * 2)
    assert training.variance_N == pytest.approx([(variance - 3 * 9e-4 / 9) / 5] * 2)
    assert training.freedom_E == pytest.approx([8])


def test_opposite_deviations_on_two_data_sets_add_nothing():
    both = [stratum([[0.4, 0.5, 0.6]] * 2), stratum([[0.6, 0.5, 0.4]] * 2)]
    assert Training.of(both, shared=True).noise_N == pytest.approx([0, 0])


def test_one_data_set_is_as_before():
    table = stratum([[0.4, 0.5, 0.6], [0.5, 0.5, 0.52]], interaction_N=np.array([1e-3, 2e-3]))
    ours, theirs = Training.of([table], shared=True), Training.of([table])
    for name, value in vars(theirs).items():
        assert getattr(ours, name) == pytest.approx(value)


def test_untrained_rows_with_one_seed_add_nothing():
    known = {"trained_N": np.array([True, False]), "untrained_N": np.array([False, True])}
    both = [stratum([[0.4, 0.5, 0.6], [0.3]], **known), stratum([[0.5, 0.6, 0.7], [0.4]], **known)]
    assert average_seeds(both).seed_values == [pytest.approx([0.45, 0.55, 0.65]), [pytest.approx(0.35)]]
    assert Training.of(both, shared=True).noise_N == pytest.approx([0.01 / 3, 0])


def test_the_interval_of_a_difference_over_data_sets_by_hand():
    both = [stratum([[0.4, 0.5, 0.6], [0.45, 0.5, 0.55]], start=start) for start in range(2)]
    result = compare_rows(both, shared_training=True)
    differences = [table.value_BN[:, 0] - table.value_BN[:, 1] for table in both]
    clip_D = [(difference_B.var() / 99 + 1 / 100**2) / 4 for difference_B in differences]
    trained = 2 * (0.01 + 0.0025) / 2 / 3
    total = sum(clip_D) + trained
    freedom = 1 / (sum((clip / total) ** 2 / 99 for clip in clip_D) + (trained / total) ** 1.5 / 4)
    half = stats.t.ppf(0.975, freedom) * total**0.5
    assert result["high"][0, 1] - result["value"][0, 1] == pytest.approx(half)
    apart = compare_rows(both)
    assert result["p"][0, 1] > apart["p"][0, 1]


def test_the_estimated_variance_is_the_variance_of_the_mean_over_data_sets():
    """Four data sets, three trainings: one part of a training's deviation is common to the data sets, one is not."""
    random, datasets, rows = np.random.default_rng(0), 4, 500
    common = 0.03 * random.normal(size=(1, rows, 3))
    value_DNS = 0.5 + common + 0.02 * random.normal(size=(datasets, rows, 3))
    strata = [stratum(value_NS.tolist(), clips=1) for value_NS in value_DNS]
    variance = value_DNS.mean(axis=(0, 2)).var()
    assert variance == pytest.approx((0.03**2 + 0.02**2 / datasets) / 3, rel=0.1)
    assert Training.of(strata, shared=True).noise_N == pytest.approx([variance] * rows, rel=0.05)
    assert (Training.of(strata).noise_N < 0.4 * variance).all()


# ---- the report


def seeds_of(shares, start):
    """Return the outcomes of seeds on the same clips: seed s has the share `shares[s]` of right clips."""
    hard_B = np.random.default_rng(start).permutation(CLIPS)
    ids = tuple(f"{start}-{b}" for b in range(CLIPS))
    return [Outcome(ids, hard_B < round(share * CLIPS), seed=seed) for seed, share in enumerate(shares)]


def metric_row(comparison, key, one):
    variance, freedom = mean_variance(one.value_B.astype(float), np.arange(CLIPS))
    low, high = share_interval(one.value_B.mean(), variance, freedom, CLIPS)
    columns = {**comparison._asdict(), **key._asdict(), "seed": one.seed, "metric": "top1", "frame_order": "ordered"}
    numbers = {"value": float(one.value_B.mean()), "low": low, "high": high, "clips": CLIPS, "groups": CLIPS}
    return {**columns, **numbers, "variance": variance, "freedom": freedom}


def tables_of(protocol, outcomes):
    """Return the collected tables of data sets d0, d1, ...: `outcomes` has the rows of each."""
    measured = {
        Measured(Comparison(f"d{d}", protocol, "test"), "top1", "ordered"): rows for d, rows in enumerate(outcomes)
    }
    metrics = [
        metric_row(address.comparison, key, one)
        for address, rows in measured.items()
        for key, seeds in rows.items()
        for one in seeds
    ]
    differences = [{"pooled": None, **row} for row in difference_rows(compared_outcomes(measured))]
    return {"metrics": metrics, "clip_variances": list(variance_rows(measured)), "differences": differences}


def mean_of(tables, key=A):
    pools = pooled_comparisons(tables["differences"])
    (pool,) = pools
    return all_estimates(tables, pools)[pool]["top1", "ordered"][key]


SHARES = {A: [0.5, 0.55, 0.6], B: [0.42, 0.47, 0.52]}
ROWS = [{key: seeds_of(shares, 10 * d) for key, shares in SHARES.items()} for d in range(2)]


def test_the_interval_of_a_mean_over_data_sets_has_the_variance_of_its_seeds():
    """Both data sets have the same deviations of seeds, so training adds as much as on one of them."""
    shared, apart = (mean_of(tables_of(protocol, ROWS)) for protocol in (SHARED, APART))
    parts = clip_parts(np.stack([one.value_B.astype(float) for one in ROWS[0][A]]))
    between = pool_seeds(list(SHARES.values()), [parts.interaction / 2] * 2)
    assert (between.variance, between.freedom) == (pytest.approx(0.0025), 4)
    total, freedom = add_variances(parts.variance / 2, np.inf, between, 3)
    wanted = share_interval(0.55, total, freedom, 2 * CLIPS)
    assert (shared.low, shared.high) == pytest.approx(wanted, abs=1e-3)
    assert (shared.value, shared.least, shared.most) == pytest.approx((0.55, 0.55, 0.55))
    assert (shared.datasets, shared.seeds, shared.clips, shared.training) == (2, 3, 2 * CLIPS, True)
    assert apart.high - apart.low < 0.85 * (shared.high - shared.low)


def test_opposite_seeds_on_two_data_sets_leave_the_interval_over_clips():
    rows = [
        {key: seeds_of(shares, 0) for key, shares in SHARES.items()},
        {key: seeds_of(shares[::-1], 10) for key, shares in SHARES.items()},
    ]
    mean = mean_of(tables_of(SHARED, rows))
    variance = np.mean([one.value_B for one in rows[0][A]], axis=0).var() / CLIPS / 2
    assert mean.high - mean.low == pytest.approx(2 * 1.96 * variance**0.5, rel=0.01)


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_are_about_the_trained_weights_as_in_other_protocols(seeds):
    rows = [{key: outcomes[:seeds] for key, outcomes in of_data_set.items()} for of_data_set in ROWS]
    shared, apart = (mean_of(tables_of(protocol, rows)) for protocol in (SHARED, APART))
    assert not shared.training
    assert (shared.value, shared.low, shared.high) == pytest.approx((apart.value, apart.low, apart.high))


def test_seeds_are_matched_by_number_and_only_those_of_all_data_sets_count():
    extra = [*ROWS[1][A][::-1], seeds_of([0.9], 10)[0]._replace(seed=7)]
    tables, complete = tables_of(SHARED, [ROWS[0], {**ROWS[1], A: extra}]), tables_of(SHARED, ROWS)
    for name in ("value", "low", "high"):
        assert getattr(mean_of(tables), name) == pytest.approx(getattr(mean_of(complete), name), abs=2e-3)
    pooled, wanted = (
        next(row for row in part["differences"] if row["pooled"] and row["method"] == "a")
        for part in (tables, complete)
    )
    assert (pooled["value"], pooled["seeds"]) == (pytest.approx(wanted["value"]), 3)
    assert (pooled["low"], pooled["high"]) == pytest.approx((wanted["low"], wanted["high"]))


def test_differences_over_data_sets_are_wider_where_trainings_are_shared():
    shared, apart = (
        next(row for row in tables_of(protocol, ROWS)["differences"] if row["pooled"]) for protocol in (SHARED, APART)
    )
    widths = [row["high"] - row["low"] for row in (shared, apart)]
    assert shared["value"] == pytest.approx(apart["value"])
    assert widths[0] / widths[1] == pytest.approx(2**0.5 * stats.t.ppf(0.975, 4) / stats.t.ppf(0.975, 8), rel=0.15)
