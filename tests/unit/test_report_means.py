"""Means over data sets and harmonic means: their intervals against simulation, and the page that shows them."""

import numpy as np
import pytest

from kinetext.core.tables import read_rows
from kinetext.evaluation.intervals import Estimate, harmonic_mean, mean_over_datasets
from reported import Page, make_report


def share(value, clips):
    """An Estimate of a share with its bootstrap interval, as measure_run gives it."""
    drawn = np.random.default_rng(clips).binomial(clips, value, 20_000) / clips
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(value=value, low=low, high=high, least=value, most=value, seeds=2, clips=clips), drawn


@pytest.mark.parametrize("values", [(0.5, 0.8, 0.9), (0.97, 0.1)])
def test_the_interval_of_a_mean_over_data_sets_equals_simulation(values):
    parts, drawn = zip(*(share(value, 100 + 50 * at) for at, value in enumerate(values)), strict=True)
    mean = mean_over_datasets(parts)
    low, high = np.quantile(np.mean(drawn, axis=0), [0.025, 0.975])
    assert (mean.value, mean.least, mean.most) == (pytest.approx(np.mean(values)), min(values), max(values))
    assert (mean.low, mean.high) == (pytest.approx(low, abs=0.01), pytest.approx(high, abs=0.01))
    assert (mean.datasets, mean.clips) == (len(values), sum(part.clips for part in parts))


@pytest.mark.parametrize(("base", "new"), [(0.9, 0.6), (0.5, 0.5), (0.99, 0.2)])
def test_the_interval_of_a_harmonic_mean_equals_simulation(base, new):
    (a, drawn_a), (b, drawn_b) = share(base, 320), share(new, 120)
    mean = harmonic_mean(a, b)
    low, high = np.quantile(2 * drawn_a * drawn_b / (drawn_a + drawn_b), [0.025, 0.975])
    assert mean.value == pytest.approx(2 / (1 / base + 1 / new))
    assert (mean.low, mean.high) == (pytest.approx(low, abs=0.015), pytest.approx(high, abs=0.015))


def test_the_harmonic_mean_of_zeros_is_zero():
    none = Estimate(value=0.0, low=0.0, high=0.0, least=0.0, most=0.0, seeds=1, clips=10)
    assert harmonic_mean(none, none).value == 0.0


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    root, datasets = tmp_path_factory.mktemp("means"), ("one", "two")
    return make_report(root, ["mean_pool", "moted"], ["names", "motion"], 2, ["base_to_novel"], datasets=datasets)


def test_the_mean_is_open_and_its_data_sets_are_folded(report):
    text = Page(report.html).text
    for clips in ("test clips", "novel clips", "novel clips among all classes"):
        assert f"mean of 2 data sets, {clips}, base_to_novel" in text["top"]
        assert f"one, {clips}" not in text["top"]
        assert f"<summary>one, {clips}, base_to_novel</summary>" in report.html
    assert "These are means over one, two, with equal weights" in text["top"]


def test_the_mean_and_its_difference_are_those_of_the_tables(report):
    metrics = read_rows("metrics", report.tables / "metrics.parquet")
    differences = read_rows("differences", report.tables / "differences.parquet")
    text = Page(report.html).text["results"].replace("\N{MINUS SIGN}", "-").partition("one, test clips")[0]
    wanted = {"method": "moted", "texts": "motion", "metric": "top1", "frame_order": "ordered", "split": "test"}
    values = [row["value"] for row in metrics if all(row[key] == value for key, value in wanted.items())]
    assert len(values) == 4  # two data sets, two seeds
    assert f"{100 * np.mean(values):.1f} [" in text
    of_means = [row for row in differences if row["pooled"] == ["one", "two"] and row["split"] == "test"]
    assert len(of_means) == 4 * 3
    assert any(f"{100 * r['value']:+.1f} [{100 * r['low']:+.1f}, {100 * r['high']:+.1f}]" in text for r in of_means)


def test_new_classes_have_their_harmonic_mean_and_what_descriptions_add(report):
    text = Page(report.html).text["novel"].replace("\N{MINUS SIGN}", "-")
    metrics = read_rows("metrics", report.tables / "metrics.parquet")
    of = {"dataset": "one", "method": "moted", "texts": "motion", "metric": "top1", "frame_order": "ordered"}
    base, new = (
        np.mean([r["value"] for r in metrics if r["split"] == s and all(r[k] == v for k, v in of.items())])
        for s in ("test", "novel_among_all")
    )
    assert f"{200 * base * new / (base + new):.1f} [" in text
    pair = {"dataset": "one", "split": "novel_among_all", "method": "moted", "texts": "motion"}
    pair |= {"than_method": "moted", "than_texts": "names"}
    differences = read_rows("differences", report.tables / "differences.parquet")
    (row,) = [row for row in differences if all(row[key] == value for key, value in pair.items())]
    assert f"{100 * row['value']:+.1f} [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]" in text
