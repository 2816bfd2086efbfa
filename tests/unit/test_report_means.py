"""Means over data sets and harmonic means: their intervals against simulation, and the page that shows them."""

import numpy as np
import pytest

from kinetext.config.report import Published, ReportOptions
from kinetext.core.tables import read_rows
from kinetext.evaluation.intervals import Estimate, harmonic_mean, mean_over_datasets
from kinetext.report.collect import collect_metrics
from kinetext.report.keys import Comparison, RowKey
from kinetext.report.novel import harmonic_means, novel_classes
from kinetext.report.published import compare_with_published
from kinetext.report.render import render_report
from reported import Page, blank_figures, make_data, make_report, make_run


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
    with pytest.MonkeyPatch.context() as patch:
        blank_figures(patch)
        return make_report(root, ["mean_pool", "moted"], ["names", "motion"], 2, ["base_to_novel"], datasets=datasets)


def test_the_mean_is_open_and_its_data_sets_are_folded(report):
    text = Page(report.html).text
    for clips in ("test clips", "novel clips", "novel clips among all classes", "test clips among all classes"):
        assert f"mean of 2 data sets, {clips}, base_to_novel" in text["top"]
        assert f"one, {clips}" not in text["top"]
        assert f"<summary>one, {clips}, base_to_novel</summary>" in report.html
    assert "The means are over one, two, with equal weights" in text["top"]


def test_a_data_set_with_rows_of_its_own_is_not_folded_and_the_mean_names_them(tmp_path, monkeypatch):
    """Rows B and C exist for one data set only. They must not disappear behind the mean over both."""
    blank_figures(monkeypatch)
    methods = {"one": ["zero_shot", "mean_pool", "moted", "stan"], "two": ["zero_shot", "mean_pool"]}
    runs, sources = [], ([], [], [])
    for name in methods:
        make_data(tmp_path, 6, name)
        data, mined = tmp_path / name, tmp_path / name / "confusables.parquet"
        runs += [make_run(tmp_path, method, "names", 0, "supervised", 6, mined, name) for method in methods[name]]
        sources[0].append((name, data / "clips.parquet", [data / "frames" / "0000.arrow"]))
    collect_metrics(runs, tmp_path, tmp_path / "tables")
    render_report(tmp_path / "tables", ReportOptions(), *sources, tmp_path / "page.html", tmp_path / "figures")
    html = (tmp_path / "page.html").read_text()
    text = Page(html).text
    left_out = (
        "Not in this mean, because not all of its data sets have them: moted (reconstruction) · names, stan · names."
    )
    assert left_out in text["top"]
    assert left_out in text["results"]
    assert "one, test clips, supervised." in text["top"]
    assert "<h3>one, test clips, supervised</h3>" in html
    assert "two, test clips, supervised." not in text["top"]
    assert "<summary>two, test clips, supervised</summary>" in html


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
    of_split = {
        split: np.mean([r["value"] for r in metrics if r["split"] == split and all(r[k] == v for k, v in of.items())])
        for split in ("test", "novel", "test_among_all", "novel_among_all")
    }
    table = text.partition("one, novel clips, base_to_novel")[2].partition("Effect of")[0]
    columns = "trained classes novel classes trained, among all classes novel, among all classes"
    assert f"top1 {columns} harmonic mean harmonic mean among all ausuc moted (reconstruction)" in table
    for base, new in (("test", "novel"), ("test_among_all", "novel_among_all")):
        assert f"{200 / (1 / of_split[base] + 1 / of_split[new]):.1f} [" in table
    pair = {"dataset": "one", "split": "novel_among_all", "metric": "top1", "method": "moted", "texts": "motion"}
    pair |= {"than_method": "moted", "than_texts": "names"}
    differences = read_rows("differences", report.tables / "differences.parquet")
    (row,) = [row for row in differences if all(row[key] == value for key, value in pair.items())]
    assert f"{100 * row['value']:+.1f} [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]" in text


SHARES = {"test": 0.8, "novel": 0.6, "test_among_all": 0.7, "novel_among_all": 0.3}
KEY = RowKey("tiny", "moted", "motion")
NOVEL = Comparison("one", "base_to_novel", "novel")


def estimates_of_splits(shares):
    """The estimates of one row on 200 clips of each split."""
    return {
        NOVEL._replace(split=split): {("top1", "ordered"): {KEY: share(value, 200)[0]}}
        for split, value in shares.items()
    }


def test_the_harmonic_mean_is_of_base_among_base_and_novel_among_novel_classes():
    means = harmonic_means(estimates_of_splits(SHARES), NOVEL, "top1")
    assert means["harmonic_mean"][KEY].value == pytest.approx(2 * 0.8 * 0.6 / 1.4)
    assert means["harmonic_mean_among_all"][KEY].value == pytest.approx(2 * 0.7 * 0.3 / 1.0)


def test_a_probe_has_no_row_among_novel_classes_and_is_named(tmp_path):
    probe = RowKey("tiny", "linear_probe", "names")
    estimates = estimates_of_splits(SHARES)
    estimates[NOVEL._replace(split="test")]["top1", "ordered"][probe] = share(0.9, 200)[0]
    (section,) = novel_classes(estimates, ReportOptions(), {}, [], [], tmp_path)
    assert section["row_keys"] == [KEY]
    assert section["without_novel"] == ["linear_probe · names"]


def test_a_constant_added_to_novel_scores_moves_only_the_harmonic_mean_among_all():
    score_BK, num_base = np.random.default_rng(0).normal(size=(600, 10)), 6
    target_B = np.repeat(np.arange(10), 60)
    score_BK[np.arange(600), target_B] += 1.5
    score_BK[:, :num_base] += 1.0  # as of a method that prefers what it was trained on
    of_base_B = target_B < num_base

    def means(constant):
        moved_BK = score_BK + constant * (np.arange(10) >= num_base)
        correct_B = moved_BK.argmax(1) == target_B
        base_B = moved_BK[of_base_B, :num_base].argmax(1) == target_B[of_base_B]
        novel_B = moved_BK[~of_base_B, num_base:].argmax(1) + num_base == target_B[~of_base_B]
        parts = {"test": base_B, "novel": novel_B}
        parts |= {"test_among_all": correct_B[of_base_B], "novel_among_all": correct_B[~of_base_B]}
        estimates = estimates_of_splits({split: correct_B.mean() for split, correct_B in parts.items()})
        measured = harmonic_means(estimates, NOVEL, "top1")
        return [measured[name][KEY].value for name in ("harmonic_mean", "harmonic_mean_among_all")]

    before, after = means(0.0), means(1.0)
    assert before[0] == after[0]
    assert after[1] > before[1] + 0.05


@pytest.mark.parametrize(
    ("metric", "split", "ours"),
    [
        ("top1", "test", 0.8),
        ("top1", "novel", 0.6),
        ("top1", "novel_among_all", 0.3),
        ("harmonic_mean", "test", 2 * 0.8 * 0.6 / 1.4),
        ("harmonic_mean_among_all", "test", 2 * 0.7 * 0.3),
        ("top1", "unseen", None),
    ],
)
def test_published_numbers_of_novel_classes_have_ours_beside_them(metric, split, ours):
    row = {"dataset": "one", "protocol": "base_to_novel", "method": "moted", "texts": "motion"}
    number = Published(metric=metric, split=split, value=0.5, source="a paper", **row)
    (shown,) = compare_with_published([number], estimates_of_splits(SHARES))
    assert shown["published"] == "50.0"
    assert (shown["ours"] and shown["ours"].value) == (ours and pytest.approx(ours))
