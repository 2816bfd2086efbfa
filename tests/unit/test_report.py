"""The report over small synthetic runs: its sections and sentences, and that its numbers equal the tables."""

import base64
import csv
import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import simplejpeg
import yaml

from few_draws import measure_quickly
from kinetext.config.report import MetricOptions, Published, ReportOptions
from kinetext.core.tables import read_rows, write_shard, write_table
from kinetext.evaluation.intervals import Estimate
from kinetext.evaluation.paired import Difference
from kinetext.report.collect import collect_metrics
from kinetext.report.comparisons import scope_sentence
from kinetext.report.confusion import cluster_classes, confusion_picture, score_matrix
from kinetext.report.cost import AXES, cost_section
from kinetext.report.descriptions import description_sets, verdict, verdict_sentence
from kinetext.report.estimates import difference_of, estimates_of
from kinetext.report.figures import canvas
from kinetext.report.formats import format_p
from kinetext.report.gallery import frame_strip
from kinetext.report.inputs import summarize_dataset
from kinetext.report.keys import Comparison, RowKey
from kinetext.report.published import compare_with_published
from kinetext.report.render import render_report
from kinetext.report.sources import ConfusablesFile, DatasetFiles
from reported import BASE, FRAME_ORDER_EFFECT, Page, blank_figures, make_data, make_report, make_run


@pytest.fixture(scope="module")
def figures():
    """The figures of `report` as SVG, by name."""
    return {}


@pytest.fixture(scope="module")
def report(tmp_path_factory, figures):
    root, save = tmp_path_factory.mktemp("report"), canvas.save

    def save_and_keep(figure, name, folder):
        figures[name] = save(figure, name, folder)
        return figures[name]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(canvas, "save", save_and_keep)
        return make_report(
            root, ["mean_pool", "moted"], ["names", "motion", "shuffled"], 2, ["base_to_novel"], title="Do <they> move?"
        )


@pytest.fixture
def without_figures(monkeypatch):
    blank_figures(monkeypatch)


def test_all_sections_are_present(report):
    page = Page(report.html)
    wanted = [
        "compared",
        "results",
        "kinds",
        "descriptions",
        "pairs",
        "gallery",
        "classes",
        "hard",
        "motion",
        "novel",
        "class-sizes",
        "calibration",
        "curves",
        "cost",
        "rejected",
        "texts",
        "notes",
    ]
    assert page.sections == wanted
    assert {link[1:] for link in page.links if link.startswith("#") and link[1:] in wanted} == set(wanted)
    assert "Do <they> move?" in page.text["top"]
    assert "reconstruction" in page.text["notes"]


def test_the_page_needs_no_network_and_has_one_script(report):
    page = Page(report.html)
    assert page.scripts == 1  # tests/test_page.py runs it; all other tests read the page without it
    assert [link for link in page.links if not link.startswith(("#", "data:image/"))] == []
    assert "url(http" not in report.html
    assert "@import" not in report.html


def test_headline_numbers_are_the_means_of_the_tables(report):
    rows = read_rows("metrics", report.tables / "metrics.parquet")
    estimates = estimates_of(rows, read_rows("clip_variances", report.tables / "clip_variances.parquet"))
    text = Page(report.html).text["results"]
    for method in ("mean_pool", "moted"):
        for split in ("test", "novel"):
            wanted = {"method": method, "texts": "motion", "metric": "top1", "frame_order": "ordered", "split": split}
            runs = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
            mean = estimates["shapes", "base_to_novel", split]["top1", "ordered"]["tiny", method, "motion"]
            assert mean.value == pytest.approx(sum(row["value"] for row in runs) / 2)
            value, low, high = (f"{100 * end:.1f}" for end in (mean.value, mean.low, mean.high))
            least, most = (f"{100 * f(row['value'] for row in runs):.1f}" for f in (min, max))
            seeds = "2 seeds" if least == most else f"2 seeds {least} to {most}"
            assert f"{value} [{low}, {high}] {seeds}, {runs[0]['clips']} clips" in text


def test_failed_clips_rejected_texts_and_methods_are_named(report):
    text = Page(report.html).text
    assert "test-moves left-0: no video stream" in text["compared"]
    assert "47 ok" in text["compared"]
    assert "mean_pool, moted" in text["compared"]
    assert "2 rejected: short" in text["texts"]
    assert "the thing grows <slowly>" in text["texts"]
    assert "1 rejected, 1 cut at the token limit" in text["texts"]
    assert "They are used without their end" in text["texts"]


def test_deviations_from_the_published_data_set_are_listed(report):
    assert "Note: test: 12 listed, 20 published; 2 listed files are missing" in Page(report.html).text["compared"]


def test_the_gallery_shows_frames_in_order_and_skips_the_failed_clip(report):
    images = [link for link in Page(report.html).links if link.startswith("data:image/jpeg")]
    assert len(images) == 2 * 2 * 8 + 4 * 8  # two pairs of trained classes, two clips, eight frames; four hard clips
    first = frame_strip("test-moves left-1", report.root / "shapes" / "frames" / "0000.arrow")
    assert images[16:24] == first  # the second pair: pairs of equal score stand by name
    assert len(set(first)) == 8


def test_accuracy_by_kind_of_motion_is_shown(report):
    text = Page(report.html).text["kinds"]
    assert "accuracy within confusable pairs (declared) in numbers method texts moving resizing" in text
    assert "top-1 accuracy among all classes in numbers" in text
    rows = read_rows("metrics", report.tables / "metrics.parquet")
    kinds = {(row["split"], row["metric"]) for row in rows if row["metric"].startswith("kind_accuracy:")}
    assert ("test", "kind_accuracy:resizing") in kinds
    assert ("novel", "kind_accuracy:moving") not in kinds  # all novel clips are of this kind: it would repeat top1
    variances = read_rows("clip_variances", report.tables / "clip_variances.parquet")
    of_kinds = {(row["metric"], row["frame_order"]) for row in variances if "resizing" in row["metric"]}
    assert of_kinds == {("kind_accuracy:resizing", "ordered")}  # of these runs, collect_metrics knows no rivals
    differences = read_rows("differences", report.tables / "differences.parquet")
    assert not any(row["metric"].startswith("kind") for row in differences)


def test_calibration_and_classes_by_size_are_shown(report):
    text = Page(report.html).text
    assert "2 [2, 2] 2 runs" in text["calibration"]  # the temperature
    runs = read_rows("runs", report.tables / "runs.parquet")
    assert {run["temperature"] for run in runs} == {2.0}
    risks = read_rows("risk_coverage", report.tables / "risk_coverage.parquet")
    one = [row for row in risks if row["split"] == "test" and row["method"] == "moted" and row["texts"] == "names"]
    one = [row for row in one if row["seed"] == 0 and row["protocol"] == one[0]["protocol"]]
    assert one[-1]["coverage"] == 1.0
    assert [row["confidence"] for row in one] == sorted((row["confidence"] for row in one), reverse=True)
    assert (
        "head: 1 class with 200 training clips; middle: 1 class with 50 training clips; tail: 2 classes with 5 to 10"
        in (text["class-sizes"])
    )
    assert "12.5 GFLOPs" in text["cost"]


@pytest.mark.usefixtures("without_figures")
def test_accuracy_is_plotted_over_each_cost_that_the_options_name(report, tmp_path):
    options = ReportOptions(cost=["gflops_per_clip", "trained_parameters"])
    render_report(report.tables, options, *report.sources, tmp_path / "page.html", tmp_path / "figures")
    plots = {path.name.split("-")[1] for path in (tmp_path / "figures").glob("cost-*.png")}
    assert plots == {"gflops_per_clip", "trained_parameters"}


@pytest.mark.parametrize(("threads", "device"), [(1, "cpu, 1 thread"), (2, "cpu, 2 threads")])
def test_the_device_of_a_training_and_its_threads_are_named(tmp_path, threads, device):
    key = RowKey("tiny", "stan", "names")
    run = dict.fromkeys(AXES) | key._asdict() | {"device": "cpu", "threads": threads, "train_seconds": 3.0}
    section = cost_section(Comparison("shapes", "supervised", "test"), [key], {}, [run], [], "top1", tmp_path)
    assert section["rows"][key]["device"] == device


def test_figures_and_csv_are_written_for_snakemakes_report(report):
    written = {path.name for path in (report.root / "figures").iterdir()}
    assert {"metrics.csv", "differences.csv", "costs.csv", "rank-shapes-base_to_novel-test.png"} <= written
    assert all((report.root / "figures" / name).stat().st_size > 100 for name in written)


def test_the_same_tables_give_the_same_page(report, figures, monkeypatch):
    """Of each kind of figure one is drawn again. All would take as long as all other tests of the report."""
    second, options = report.root / "again.html", ReportOptions(title="Do <they> move?")
    save, drawn = canvas.save, set()

    def save_first_of_kind(figure, name, folder):
        kind = name.partition("-")[0]
        if kind in drawn:
            return figures[name]
        drawn.add(kind)
        return save(figure, name, folder)

    monkeypatch.setattr(canvas, "save", save_first_of_kind)
    render_report(report.tables, options, *report.sources, second, report.root / "again")
    assert drawn == {name.partition("-")[0] for name in figures}
    assert second.read_text() == report.html


@pytest.mark.usefixtures("without_figures")
def test_sections_without_content_are_left_out(tmp_path):
    write_table("confusables", [], tmp_path / "none.parquet")
    report = make_report(
        tmp_path, ["zero_shot"], ["motion"], 1, ["supervised"], confusables=tmp_path / "none.parquet", examples=2
    )
    page = Page(report.html)
    assert {"pairs", "gallery", "novel", "descriptions", "confusion"}.isdisjoint(page.sections)
    assert {"compared", "results", "motion", "cost", "texts", "notes"} <= set(page.sections)
    assert not {link for link in page.links if link in ("#pairs", "#gallery", "#novel", "#descriptions", "#confusion")}
    assert "none recorded" in page.text["cost"]
    assert "0 s [0, 0] 1 run" in page.text["cost"]
    assert "nothing was trained" in page.text["cost"]
    assert "Shares are not calibrated: the run has no validation clips." in page.text["calibration"]
    assert "ece_calibrated" not in {row["metric"] for row in read_rows("metrics", report.tables / "metrics.parquet")}


@pytest.mark.usefixtures("without_figures")
def test_published_numbers_are_compared_with_ours(tmp_path):
    about = {"dataset": "shapes", "texts": "names", "source": "Table 4 of <a paper>"}
    published = [
        {**about, "metric": "top1", "value": 0.5, "method": "moted"},
        {**about, "metric": "top1", "value": 0.842, "method": "stan"},
    ]
    report = make_report(tmp_path, ["moted"], ["names"], 2, ["supervised"], reference=published)
    rows = read_rows("metrics", report.tables / "metrics.parquet")
    variances = read_rows("clip_variances", report.tables / "clip_variances.parquet")
    ours = estimates_of(rows, variances)["shapes", "supervised", "test"]["top1", "ordered"]["tiny", "moted", "names"]
    text = Page(report.html).text["published"].replace("\N{MINUS SIGN}", "-")
    value, low, high = (f"{100 * x:.1f}" for x in (ours.value, ours.low, ours.high))
    apart, least, most = (f"{100 * x - 50:+.1f}" for x in (ours.value, ours.low, ours.high))
    assert f"top1 50.0 {value} [{low}, {high}] 2 seeds, {ours.clips} clips {apart} [{least}, {most}]" in text
    assert "stan names shapes supervised top1 84.2 not measured Table 4 of <a paper>" in text


def test_published_ranks_keep_their_unit():
    spread = {"low": 2.0, "high": 3.0, "least": 2.5, "most": 2.5}
    ours = Estimate(value=2.5, **spread, seeds=1, clips=1000, unit="rank", higher_is_better=False)
    number = Published(metric="t2v_mdr", value=2.0, source="Table 1", dataset="msrvtt", method="stan", texts="captions")
    key = RowKey("tiny", "stan", "captions")
    estimates = {Comparison("msrvtt", "supervised", "test"): {("t2v_mdr", "ordered"): {key: ours}}}
    (row,) = compare_with_published([number], estimates)
    assert (row["published"], row["value"], row["difference"]) == ("2.0", "2.5", ["+0.5", "0.0", "+1.0"])


@pytest.mark.usefixtures("without_figures")
def test_a_metric_of_the_configuration_has_a_column_in_its_unit_and_direction(tmp_path):
    (tmp_path / "margin.py").write_text(
        "from kinetext.evaluation.metrics.base import Metric\n"
        "class Spread(Metric):\n"
        "    'Deviation of the scores.'\n"
        "    unit, higher_is_better = 'number', False\n"
        "    def measure(self, sample, rivals=None):\n"
        "        return 0.01234567 if len(sample) else float('nan')\n"
    )
    added = {
        "spread": MetricOptions(module=str(tmp_path / "margin.py")),
        "top3": MetricOptions(module="top_k", options={"k": 3}),
    }
    headline = ["top1", "spread", "top3"]
    report = make_report(tmp_path, ["moted"], ["names"], 2, ["supervised"], metrics=added, headline=headline)
    text = Page(report.html).text["results"]
    assert "spread lower is better top3" in text
    assert "0.0123 [0.0123, 0.0123]" in text
    units = {row["metric"]: row["unit"] for row in read_rows("metrics", report.tables / "metrics.parquet")}
    assert (units["spread"], units["top3"], units["top1"]) == ("number", "share", "share")
    with pytest.raises(ValueError, match="top1: is a built-in metric"):
        make_report(tmp_path / "b", ["moted"], ["names"], 1, ["supervised"], metrics={"top1": MetricOptions()})


@pytest.mark.usefixtures("without_figures")
def test_a_headline_metric_that_was_not_measured_is_an_error_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match=r"report\.headline: no metric 'top2'.*mean_class_accuracy, .*top1"):
        make_report(tmp_path, ["zero_shot"], ["names"], 1, ["supervised"], headline=["top2"])


def test_collect_reads_only_the_runs_it_is_given(report, tmp_path):
    collect_metrics(report.runs[:3], report.root, tmp_path)
    runs = read_rows("runs", tmp_path / "runs.parquet")
    assert [run["run"] for run in runs] == [str(r.relative_to(report.root / "runs")) for r in report.runs[:3]]
    costs = read_rows("costs", tmp_path / "costs.parquet")
    assert costs[0]["predict_clips_per_s"] == 50.0
    assert (costs[1]["train_seconds"], runs[1]["commit"]) == (21.0, "abc1234")
    names = {(row["method"], row["texts"], row["seed"]) for row in read_rows("metrics", tmp_path / "metrics.parquet")}
    assert len(names) == 3


def test_an_unmeasured_run_is_an_error_with_its_folder(report, tmp_path):
    with pytest.raises(ValueError, match=r"elsewhere: metrics\.parquet is missing"):
        collect_metrics([tmp_path / "elsewhere"], tmp_path, tmp_path / "tables")


def test_differences_are_paired_and_mirrored(report):
    metrics = read_rows("metrics", report.tables / "metrics.parquet")
    estimates = estimates_of(metrics)["shapes", "base_to_novel", "test"]["top1", "ordered"]
    rows = pq.read_table(report.tables / "differences.parquet").to_pylist()
    by = {
        (r["split"], r["backbone"], r["method"], r["texts"], r["than_backbone"], r["than_method"], r["than_texts"]): r
        for r in rows
    }
    ours, theirs = ("tiny", "moted", "motion"), ("tiny", "mean_pool", "names")
    forth, back = by["test", *ours, *theirs], by["test", *theirs, *ours]
    assert forth["value"] == pytest.approx(estimates[ours].value - estimates[theirs].value)
    assert (forth["low"], forth["high"]) == (pytest.approx(-back["high"]), pytest.approx(-back["low"]))
    assert (forth["clips"], forth["seeds"]) == (24, 2)
    assert len([r for r in rows if r["split"] == "test"]) == 6 * 5


def test_estimates_leave_out_rows_that_counted_nothing():
    row = {"dataset": "d", "protocol": "p", "split": "test", "metric": "top1", "frame_order": "ordered", "method": "m"}
    row |= {"backbone": "b", "texts": "t", "low": 0.1, "high": 0.3, "clips": 9}
    nan = estimates_of([{**row, "value": float("nan")}, {**row, "value": None}])
    assert not nan
    two = estimates_of([{**row, "value": 0.2}, {**row, "value": 0.4}])["d", "p", "test"]["top1", "ordered"][
        "b", "m", "t"
    ]
    assert (two.value, two.least, two.most, two.seeds) == (pytest.approx(0.3), 0.2, 0.4, 2)


def test_raw_frames_are_shown(tmp_path):
    images = [np.full((6, 6, 3), grey, np.uint8).tobytes() for grey in range(0, 240, 20)]
    write_shard("frames", [[{"clip_id": "a", "status": "ok", "images": images}]], tmp_path / "0000.arrow")
    strip = frame_strip("a", tmp_path / "0000.arrow")
    shown = [simplejpeg.decode_jpeg(base64.b64decode(frame.split(",")[1])) for frame in strip]
    assert len(shown) == 8
    assert shown[0].shape == (6, 6, 3)
    assert (shown[0].mean(), shown[-1].mean()) == (pytest.approx(0, abs=2), pytest.approx(220, abs=2))
    assert frame_strip("b", tmp_path / "0000.arrow") == []


# ---- do descriptions help?


def apart(value, p):
    spread = {"low": value - 0.1, "high": value + 0.1, "least": value, "most": value}
    return Difference(value=value, **spread, seeds=2, clips=30, p=p, corrected_p=p)


def test_verdicts_follow_the_corrected_test():
    assert verdict(apart(0.1, 0.05)) == "significantly better than"
    assert verdict(apart(0.1, 0.051)) == verdict(apart(-0.1, 1.0)) == "not significantly different from"
    assert verdict(apart(-0.1, 0.001)) == "significantly worse than"
    tested = {"names": apart(0.1, 0.01), "templates": apart(0.2, 0.001), "shuffled": apart(0.2, 0.2)}
    assert (
        verdict_sentence("stan", "gpt4", tested)
        == "With stan, gpt4 is significantly better than names and templates; not significantly different from shuffled."
    )
    assert (
        verdict_sentence("moted", "gpt4", {"names": apart(-0.1, 0.01)})
        == "With moted, gpt4 is significantly worse than names."
    )


def test_verdicts_say_what_was_tested():
    few = replace(apart(0.1, 0.01), seed_range=0.056)
    weights = (
        "The tests are about these trained weights, not about methods: that needs three seeds of each trained row."
    )
    assert scope_sentence([few]) == f"{weights} The largest difference between two seeds of one row is 5.6 points."
    one = "How far two seeds of one row are apart is not known: each row has one seed."
    assert scope_sentence([apart(0.1, 0.01)]) == f"{weights} {one}"
    many = "The tests are about methods: they include how much training varies between seeds."
    of_draws = scope_sentence([replace(few, draws=2)])
    assert of_draws.startswith("The tests are about these trained weights, not about methods: that needs three draws")
    assert of_draws.endswith("The largest difference between two draws of one row is 5.6 points.")
    assert scope_sentence([replace(few, methods=True)]).startswith(f"{many} The largest difference")
    nothing = replace(apart(0.1, 0.01), methods=True)
    assert scope_sentence([nothing]) == "Nothing was trained, so that the tests are about methods."
    assert scope_sentence([]) == ""


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("seeds", [1, 3])
def test_the_page_claims_methods_from_three_seeds_on(tmp_path, seeds):
    report = make_report(tmp_path, ["moted", "mean_pool"], ["names", "motion"], seeds, ["supervised"])
    rows = read_rows("differences", report.tables / "differences.parquet")
    assert {row["methods"] for row in rows} == {seeds == 3}
    assert all(row["corrected_p"] >= row["p"] for row in rows)
    text = Page(report.html).text
    assert ("with these trained weights" in text["top"]) == (seeds == 1)
    for section in ("top", "results", "descriptions"):
        assert ("The tests are about methods" if seeds == 3 else "The tests are about these trained weights") in text[
            section
        ]
    metrics = [r for r in read_rows("metrics", report.tables / "metrics.parquet") if r["metric"] == "top1"]
    by_row = {}
    for row in metrics:
        if row["frame_order"] == "ordered":
            by_row.setdefault((row["method"], row["texts"]), []).append(row["value"])
    apart = max(max(values) - min(values) for values in by_row.values())
    if seeds == 3:
        assert f"two seeds of one row is {100 * apart:.1f} points" in text["top"]


def test_descriptions_are_compared_with_names_and_controls(report):
    rows = pq.read_table(report.tables / "differences.parquet").to_pylist()
    text = Page(report.html).text["descriptions"].replace("\N{MINUS SIGN}", "-")
    test_rows = [r for r in rows if r["split"] == "test" and r["texts"] == "motion" and r["method"] == r["than_method"]]
    family = {(r["method"], r["than_texts"]): difference_of(r) for r in test_rows}
    assert len(family) == 4  # two methods, less names and less the control
    for other in ("names", "shuffled"):
        pair = {"split": "test", "method": "moted", "texts": "motion", "than_method": "moted", "than_texts": other}
        (row,) = [r for r in rows if all(r[key] == value for key, value in pair.items())]
        shown = f"{100 * row['value']:+.1f} [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}] 2 seeds, 24 clips"
        assert shown.replace("+0.0", "0.0").replace("-0.0", "0.0") in text.replace("+0.0", "0.0")
        assert (
            verdict(family["moted", other])
            in text.partition("With moted (reconstruction), motion is")[2].partition(".")[0]
        )
        assert format_p(family["moted", other].corrected_p) in text
    assert "Controls here: shuffled." in text
    assert "shuffled is" not in text  # a control is not asked whether it helps
    assert "Descriptions: With" in Page(report.html).text["top"]


def test_which_texts_are_descriptions(report):
    texts = report.sources[2]
    assert description_sets(texts, []) == ["motion"]
    assert description_sets(texts, ["shuffled", "motion"]) == ["shuffled", "motion"]
    with pytest.raises(
        ValueError, match=r"report\.descriptions: no texts 'gpt4' were made; known: names, motion, shuffled"
    ):
        description_sets(texts, ["gpt4"])


def test_rejected_texts_are_counted_by_reason(report):
    text = Page(report.html).text["rejected"]
    assert "names" in text
    # the fourth class has no other sentence; the first has one that is used
    assert "3 2 short 1 of 4 classes: shrinks" in text
    assert "4 1 short none" in text


# ---- confusion


def test_confused_classes_are_neighbours_and_form_groups():
    rng = np.random.default_rng(0)
    member = rng.permutation(np.repeat(np.arange(10), 4))
    scores_KK = np.where(member[:, None] == member[None], rng.uniform(0.3, 0.5, (40, 40)), 0.0)
    scores_KK = np.triu(scores_KK, 1) + np.triu(scores_KK, 1).T
    order, blocks = cluster_classes(scores_KK)
    assert sorted(order) == list(range(40))
    assert all(len(set(member[order[at : at + 4]])) == 1 for at in range(0, 40, 4))
    assert sorted(sorted(block) for block in blocks) == sorted(np.flatnonzero(member == m).tolist() for m in range(10))
    assert cluster_classes(np.zeros((3, 3))) == ([0, 1, 2], [])


@pytest.mark.parametrize("count", [6, 40, 400])
def test_a_picture_of_few_and_of_many_classes(tmp_path, count):
    labels = [f"class number {k}" for k in range(count)]
    mined = [
        {"label": labels[k], "rival": labels[k ^ 1], "score": 0.1 + k / 999, "rule": rule, "rank": 1}
        for k in range(count)
        for rule in ("features", "declared")
    ]
    write_table("confusables", mined, tmp_path / "confusables.parquet")
    picture = confusion_picture(ConfusablesFile("d", "supervised", "tiny", tmp_path / "confusables.parquet"), tmp_path)
    assert (picture["classes"], picture["shown"]) == (count, min(count, 60))
    assert sorted(picture["groups"][0]) == sorted(labels[-2:])  # the most confused
    assert len(picture["groups"]) + picture["more"] == len(cluster_classes(score_matrix(mined)[1])[1])
    assert (tmp_path / "confusion-d-supervised-tiny.png").stat().st_size > 1000
    assert picture["plot"].startswith("<svg")


def test_declared_pairs_alone_make_no_picture(report):
    assert confusion_picture(ConfusablesFile(*report.sources[1][0]), report.root) is None


@pytest.mark.usefixtures("without_figures")
def test_galleries_show_the_pairs_and_numbers_of_their_protocol_and_backbone(tmp_path):
    """Two protocols, two backbones: every gallery shows the pairs that were mined for it."""
    make_data(tmp_path, 6)
    data, runs, mined = tmp_path / "shapes", [], []
    places = [("supervised", "tiny", 0), ("supervised", "large", 2), ("base_to_novel", "tiny", 0)]
    for method, (protocol, backbone, first) in zip(("mean_pool", "moted", "mean_pool"), places, strict=True):
        path = tmp_path / protocol / backbone / "confusables.parquet"
        pair = {"label": BASE[first], "rival": BASE[first + 1], "score": 0.5, "rule": "features", "rank": 1}
        write_table("confusables", [pair], path)
        folder = make_run(tmp_path, method, "names", 0, protocol, 6, path)
        spec = yaml.safe_load((folder / "run.yaml").read_text()) | {"backbone": backbone}
        (folder / "run.yaml").write_text(yaml.safe_dump(spec))
        measure_quickly(folder, folder / "predictions.parquet", path, folder / "metrics.parquet")
        runs.append(folder)
        mined.append(("shapes", protocol, backbone, path))
    collect_metrics(runs, tmp_path, tmp_path / "tables")
    datasets = [("shapes", data / "clips.parquet", [data / "frames" / "0000.arrow"])]
    texts = [data / "texts" / "names.parquet"]
    render_report(tmp_path / "tables", ReportOptions(), datasets, mined, texts, tmp_path / "r.html", tmp_path / "f")
    galleries = Page((tmp_path / "r.html").read_text()).text["gallery"].split("; pairs confused")
    shown = [("moves left moves right" in g, "grows shrinks" in g, "moted" in g) for g in galleries[1:]]
    assert shown == [(True, False, False), (False, True, True), (True, False, False)]
    page = Page((tmp_path / "r.html").read_text())
    assert (
        "moted (reconstruction) names, large" in page.text["results"]
    )  # rows name their backbone where the page has several
    pairs = page.text["pairs"]
    assert "pair_accuracy:features: pairs confused by the image-text model; with large" in pairs
    assert {p.name for p in (tmp_path / "f").glob("pairs-features-shapes-supervised-test-*")} == {
        "pairs-features-shapes-supervised-test-tiny.png",
        "pairs-features-shapes-supervised-test-large.png",
    }


@pytest.mark.usefixtures("without_figures")
def test_one_method_with_two_backbones_is_two_rows(tmp_path):
    make_data(tmp_path, 6)
    data, runs = tmp_path / "shapes", []
    for backbone in ("tiny", "large"):
        folder = make_run(tmp_path / backbone, "moted", "names", 0, "supervised", 6, data / "confusables.parquet")
        spec = yaml.safe_load((folder / "run.yaml").read_text()) | {"backbone": backbone}
        (folder / "run.yaml").write_text(yaml.safe_dump(spec))
        measure_quickly(
            folder, folder / "predictions.parquet", data / "confusables.parquet", folder / "metrics.parquet"
        )
        runs.append(folder)
    collect_metrics(runs, tmp_path, tmp_path / "tables")
    rows = read_rows("differences", tmp_path / "tables" / "differences.parquet")
    assert {(row["backbone"], row["than_backbone"]) for row in rows} == {("tiny", "large"), ("large", "tiny")}
    assert {row["backbone"] for row in read_rows("confusions", tmp_path / "tables" / "confusions.parquet")} == {
        "tiny",
        "large",
    }
    datasets = [("shapes", data / "clips.parquet", [data / "frames" / "0000.arrow"])]
    texts, page = [data / "texts" / "names.parquet"], tmp_path / "r.html"
    render_report(tmp_path / "tables", ReportOptions(), datasets, [], texts, page, tmp_path / "f")
    text = Page(page.read_text()).text
    assert all(f"moted (reconstruction) names, {backbone}" in text["results"] for backbone in ("tiny", "large"))
    assert "No significant difference between the 2 rows" in text["top"]


# ---- captions


@pytest.fixture(scope="module")
def captioned(tmp_path_factory):
    """Two methods on six clips with two captions each; the first clip has no frames."""
    root = tmp_path_factory.mktemp("captioned")
    clips = [{"clip_id": f"c{b}", "path": "x", "split": "test", "shard": "0000"} for b in range(6)]
    captions = [[f"what {b} does", f"it is <{b}>"] for b in range(6)]
    frames = [{"clip_id": f"c{b}", "images": [], "status": "failed" if b == 0 else "ok"} for b in range(6)]
    write_table("clips", [c | {"captions": s} for c, s in zip(clips, captions, strict=True)], root / "clips.parquet")
    write_shard("frames", [frames], root / "0000.arrow")
    write_table("confusables", [], root / "confusables.parquet")
    texts = [
        {"label": f"c{b}", "kind": "caption", "sentence": s, "status": "ok"} for b in range(6) for s in captions[b]
    ]
    write_table("texts", texts, root / "texts" / "captions.parquet")
    runs = []
    for method, skill in (("mean_pool", 0.5), ("stan", 2.0)):
        run = f"captioned/supervised/tiny/{method}/captions/seed0"
        spec = {"run": run, "dataset": "captioned", "protocol": "supervised", "method": method, "texts": "captions"}
        spec |= {"backbone": "tiny", "seed": 0, "method_module": method, "method_options": {}, "training": {}}
        spec |= {"dataset_options": {}, "backbone_options": {}, "text_options": {}, "fingerprint": run}
        folder, rows = root / "runs" / run, []
        folder.mkdir(parents=True)
        (folder / "run.yaml").write_text(yaml.safe_dump(spec))
        noise_BK = np.random.default_rng(0).normal(size=(6, 12))
        for frame_order, effect in FRAME_ORDER_EFFECT.items():
            for b in range(6):
                score_K = noise_BK[b] + skill * effect * (np.arange(12) // 2 == b) + (np.nan if b == 0 else 0)
                row = {"clip_id": f"c{b}", "split": "test", "frame_order": frame_order, "target": 2 * b}
                bank_P = np.arange(3.0) if frame_order == "ordered" else None
                rows.append({**row, "score_K": score_K, "bank_P": bank_P})
        metadata = {"labels": {"test": [f"c{k // 2}" for k in range(12)]}, "captioned": True}
        write_table("predictions", rows, folder / "predictions.parquet", metadata)
        measure_quickly(
            folder, folder / "predictions.parquet", root / "confusables.parquet", folder / "metrics.parquet"
        )
        runs.append(folder)
    collect_metrics(runs, root, root / "tables")
    return root


def render_captioned(root, **options):
    dataset = ("captioned", root / "clips.parquet", [root / "0000.arrow"])
    mined = [("captioned", "supervised", "tiny", root / "confusables.parquet")]
    texts = [root / "texts" / "captions.parquet"]
    render_report(root / "tables", ReportOptions(**options), [dataset], mined, texts, root / "r.html", root / "figures")
    return Page((root / "r.html").read_text())


@pytest.mark.usefixtures("without_figures")
def test_retrieval_has_its_own_headline_and_table(captioned):
    page = render_captioned(captioned)
    assert page.sections == ["compared", "results", "retrieval", "motion", "cost", "texts", "notes"]
    assert "6 test; 12 captions" in page.text["compared"]
    assert "t2v_r1 t2v_r1 minus the highest row's, points v2t_r1" in page.text["results"]
    assert "it is <3>" in page.text["texts"]
    rows = read_rows("metrics", captioned / "tables" / "metrics.parquet")
    for metric, unit in (("t2v_r1", 100), ("v2t_r10", 100), ("t2v_mdr", 1), ("v2t_mnr:dsl", 1)):
        (row,) = [r for r in rows if (r["method"], r["metric"], r["frame_order"]) == ("stan", metric, "ordered")]
        value, low, high = (f"{unit * row[c]:.1f}" for c in ("value", "low", "high"))
        assert f"{value} [{low}, {high}] 1 seed, 6 clips" in page.text["retrieval"]
    t2v, v2t = page.text["retrieval"].split("video to text", 1)
    assert "stan : inverted" in t2v
    assert "stan : inverted" in v2t
    assert "stan : qb_norm" in t2v
    assert "stan : qb_norm" not in v2t
    rows = pq.read_table(captioned / "tables" / "differences.parquet").to_pylist()
    assert {row["metric"] for row in rows} == {"t2v_r1", "v2t_r1"}


@pytest.mark.usefixtures("without_figures")
def test_a_rank_may_be_in_the_headline_but_not_first(captioned):
    page = render_captioned(captioned, headline=["t2v_r5", "t2v_mdr"])
    assert "t2v_r5 t2v_r1 minus the highest row's, points t2v_mdr" in page.text["results"]
    with pytest.raises(ValueError, match=r"t2v_mdr cannot come first: .* put t2v_r1 before it"):
        render_captioned(captioned, headline=["t2v_mdr"])
    with pytest.raises(ValueError, match=r"no metric 'top1' was measured; known: t2v_mdr"):
        render_captioned(captioned, headline=["top1"])


def test_validation_clips_that_choose_the_epoch_are_stated_as_labelled(tmp_path):
    make_data(tmp_path, 2)
    files = DatasetFiles("shapes", tmp_path / "shapes/clips.parquet", [tmp_path / "shapes/frames/0000.arrow"])
    row = {"dataset": "shapes", "backbone": "tiny", "texts": "names", "seed": 0}
    runs = [
        {**row, "method": method, "protocol": protocol, "training": json.dumps({"select": select})}
        for method, protocol, select in [
            ("stan", "few_shot_4_draw1", "best_val"),
            ("moted", "few_shot_4", "last"),
            ("stan", "supervised", "best_val"),
        ]
    ]
    stated = summarize_dataset(files, [], runs)["labelled"]
    assert stated == ["stan, few_shot_4_draw1: 4 shots + up to 4 validation clips per class"]


def test_every_table_of_results_ends_with_chance(report):
    text = Page(report.html).text
    assert "chance 25.0" in text["results"]  # four trained classes
    assert "chance 50.0" in text["pairs"]
    assert "chance 25.0 50.0 " in text["novel"]  # trained, novel among themselves, and both among all six
    rows = read_rows("metrics", report.tables / "metrics.parquet")
    assert {row["chance"] for row in rows if (row["split"], row["metric"]) == ("novel_among_all", "top1")} == {1 / 6}


def test_the_accuracy_of_each_class_is_that_of_its_clips(report):
    rows = read_rows("confusions", report.tables / "confusions.parquet")
    wanted = {"method": "moted", "texts": "motion", "split": "test", "label": "grows"}
    of_class = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    right = sum(row["clips"] for row in of_class if row["predicted"] == "grows") / sum(row["clips"] for row in of_class)
    with (report.root / "figures/class_accuracy.csv").open() as file:
        written = [row for row in csv.DictReader(file) if all(row[key] == value for key, value in wanted.items())]
    assert [float(row["value"]) for row in written] == [pytest.approx(right)]
    assert f"{100 * right:.1f}" in Page(report.html).text["classes"]


def test_the_hardest_clips_are_those_that_the_fewest_runs_get_right(report):
    rows = read_rows("hard_clips", report.tables / "hard_clips.parquet")
    test = [row for row in rows if row["split"] == "test"]
    assert [row["right"] for row in test] == sorted(row["right"] for row in test)
    assert (test[0]["clip_id"], test[0]["right"], test[0]["predicted"]) == ("test-moves left-0", 0.0, None)  # no frames
    assert all(row["runs"] == 12 and row["predicted"] != row["label"] for row in test)
    shown = next(row for row in test if row["predicted"] is not None)
    words = f"{shown['label']} , predicted as {shown['predicted']} by {shown['predicted_runs']} of 12 runs"
    assert words in Page(report.html).text["hard"]
