"""Which runs are finished, why the others are not, and the report and the summary of a study that is not finished."""

import os
import re
import shutil
import time
from types import SimpleNamespace

import pytest

from kinetext.config.report import ReportOptions
from kinetext.config.run import read_run
from kinetext.core.escape import for_script, for_spreadsheet, for_terminal, from_spreadsheet, write_csv
from kinetext.core.tables import write_table
from kinetext.report.jobs import Planned
from kinetext.report.logs import read_error, read_warnings
from kinetext.report.partial import read_plan, report, update_report
from kinetext.report.progress import read_progress
from kinetext.report.refresh import Refresher, write_plan
from reported import Page, blank_figures, make_data, make_run

KEY = "OPENAI_API_KEY is not set; export it"


@pytest.fixture(scope="module")
def written_study(tmp_path_factory):
    """Two finished runs, one whose texts failed, one whose training was killed, one that has not begun."""
    tmp_path = tmp_path_factory.mktemp("made")
    make_data(tmp_path / "data", 4)
    data = tmp_path / "data" / "shapes"
    (data / "shards.txt").write_text("0000 d1\n")
    frames = data / "frames" / "224-shortest-bicubic"
    frames.mkdir()
    (data / "frames" / "0000.arrow").rename(frames / "0000.arrow")
    tables = data / "supervised" / "tiny"
    (tables / "texts").mkdir(parents=True)
    (data / "confusables.parquet").rename(tables / "confusables.parquet")
    (data / "texts" / "names.parquet").rename(tables / "texts" / "names.parquet")
    write_table("splits", [], data / "supervised/splits.parquet", {"labels": {}})
    for path in (
        frames / "frames.json",
        data / "features/tiny/labels.npz",
        tmp_path / "backbones/tiny/weights.safetensors",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    rows = [("zero_shot", "names"), ("mean_pool", "names"), ("zero_shot", "gpt"), ("stan", "names"), ("moted", "names")]
    planned = {}
    for method, texts in rows:
        folder = make_run(tmp_path, method, texts, 0, "supervised", 4, tables / "confusables.parquet")
        planned_run = Planned(read_run(folder / "run.yaml"), method != "zero_shot")
        planned[planned_run.spec.run] = planned_run
        if method in ("stan", "moted"):
            for file in ("metrics.parquet", "predictions.parquet", "curves.parquet", "cost.json"):
                (folder / file).unlink()
        if method == "mean_pool":
            (folder / "checkpoint.safetensors").touch()
            os.utime(folder / "checkpoint.safetensors", (1, 1))
        if texts == "gpt":
            (folder / "metrics.parquet").unlink()
            (folder / "predictions.parquet").unlink()
    logs = tmp_path / "logs"
    log(logs / "describe_classes/shapes/supervised/tiny/gpt.log", f"chat_api: 4 requests\nkinetext: texts.gpt: {KEY}\n")
    log(logs / "train_method/shapes/supervised/tiny/stan/names/seed0.log", "step 10\rstep 20\r")
    log(logs / "index_clips/shapes.log", "warning: datasets.shapes: 2 files in no list, first \x1b[2J.mp4\nindexed\n")
    return tmp_path, planned


@pytest.fixture
def study(written_study, tmp_path, monkeypatch):
    """A copy of that study, for one test. Its pages have no drawn figures."""
    blank_figures(monkeypatch)
    shutil.copytree(written_study[0], tmp_path / "results")
    return SimpleNamespace(results=tmp_path / "results", planned=dict(written_study[1]))


def log(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def states(progress):
    return {f"{row.key.method}/{row.key.texts}": (row.failed, row.reason) for row in progress.unfinished}


def test_each_run_that_is_not_finished_has_its_reason(study):
    progress = read_progress(study.results, study.planned, ended=True)
    assert sorted(folder.parent.parent.name for folder in progress.finished) == ["mean_pool", "zero_shot"]
    killed = "train_method: ended without an error message, as a killed job does; the last line of its log: step 20"
    assert states(progress) == {
        "zero_shot/gpt": (True, f"describe_classes: texts.gpt: {KEY}"),
        "stan/names": (True, killed),
        "moted/names": (False, "not started: next is train_method"),
    }
    assert progress.warnings == {"datasets.shapes: 2 files in no list, first \x1b[2J.mp4": 1}
    assert [path.name for path in progress.errors.values()] == ["gpt.log", "seed0.log"]


def test_while_jobs_run_a_log_without_an_error_is_no_failure_and_old_errors_are_ignored(study):
    assert states(read_progress(study.results, study.planned, ended=False))["stan/names"] == (
        False,
        "train_method has begun",
    )
    later = (study.results / "logs/describe_classes/shapes/supervised/tiny/gpt.log").stat().st_mtime + 1
    progress = read_progress(study.results, study.planned, ended=False, since_s=later)
    assert states(progress)["zero_shot/gpt"] == (False, "not started: next is describe_classes")


def test_a_call_that_the_preflight_stopped_is_the_reason(study):
    log(study.results / "logs/preflight.log", "kinetext: stop: texts.gpt: no key in OPENAI_API_KEY\nNothing was run.\n")
    states_now = states(read_progress(study.results, study.planned, ended=True))
    reason = "not started: stop: texts.gpt: no key in OPENAI_API_KEY\nNothing was run."
    assert states_now["moted/names"] == (False, reason)


@pytest.mark.parametrize("change", ["fingerprint", "checkpoint"])
def test_a_run_of_other_options_or_an_older_checkpoint_is_out_of_date(study, change):
    name = "shapes/supervised/tiny/mean_pool/names/seed0"
    if change == "fingerprint":
        spec = study.planned[name].spec.model_copy(update={"fingerprint": "another"})
        study.planned[name] = Planned(spec, True)
    else:
        os.utime(study.results / "runs" / name / "checkpoint.safetensors")
    failed, reason = states(read_progress(study.results, study.planned, ended=True))["mean_pool/names"]
    assert (failed, reason.partition(":")[0]) == (False, "out of date")


def test_the_page_of_an_unfinished_study_has_the_numbers_that_exist_and_the_reasons(study):
    (study.results / "figures").mkdir()
    _, tables = update_report(study.results, ReportOptions(), study.planned, ended=True)
    page = Page((study.results / "report.html").read_text())
    assert page.sections[:4] == ["unfinished", "warnings", "compared", "results"]
    assert "Not finished: 3 of 5 runs" in page.text["top"]
    assert f"describe_classes: texts.gpt: {KEY}" in page.text["unfinished"]
    assert "failed: describe_classes" in page.text["results"]
    assert "2 seeds" not in page.text["results"]
    assert "mean_ pool names" in page.text["results"]
    assert not (study.results / "figures").exists()  # the workflow must render its own page later
    assert tables == study.results / "unfinished/tables"


def test_without_any_finished_run_there_is_still_a_page_and_a_summary(study, capsys):
    for folder in read_progress(study.results, study.planned, ended=True).finished:
        (folder / "metrics.parquet").unlink()
    report(study.results, ReportOptions(), study.planned, ended=True)
    page = Page((study.results / "report.html").read_text())
    assert "Not finished: 5 of 5 runs" in page.text["top"]
    assert KEY in page.text["unfinished"]
    assert KEY in capsys.readouterr().out


def test_the_summary_ends_with_the_errors_and_the_path_of_the_report(study, capsys):
    report(study.results, ReportOptions(), study.planned, ended=True)
    lines = capsys.readouterr().out.splitlines()
    assert re.search(r"^  mean_pool · names +\d+\.\d \[\d+\.\d, \d+\.\d\]  1 seed, 16 clips$", "\n".join(lines), re.M)
    assert r"  datasets.shapes: 2 files in no list, first \x1b[2J.mp4" in lines
    assert f"  describe_classes: texts.gpt: {KEY}" in lines[-10:]
    path = study.results / "report.html"
    assert lines[-1] == f"Report: {path} (3 of 5 runs are not finished; the same command resumes)"


def test_a_report_while_jobs_run_does_not_touch_the_page_that_the_workflow_may_be_rendering(study):
    for name in study.planned:
        (study.results / "runs" / name / "metrics.parquet").touch()
    update_report(study.results, ReportOptions(), study.planned)
    assert not (study.results / "report.html").exists()


def test_a_plan_survives_its_file(study, tmp_path):
    write_plan(
        tmp_path / "plan.json", ReportOptions(title="mine"), [(p.spec, p.trains) for p in study.planned.values()]
    )
    options, planned = read_plan(tmp_path / "plan.json")
    assert options.title == "mine"
    assert planned == study.planned


def test_logs_have_the_last_sentence_or_the_exception_and_every_warning_once(tmp_path):
    log(tmp_path / "a.log", "kinetext: waiting for 2 paid answers\nkinetext: no key\nsecond line\n")
    assert read_error(tmp_path / "a.log") == "no key\nsecond line"
    log(tmp_path / "b.log", "Traceback (most recent call last):\n  File x\nMemoryError: 3 GiB\n")
    assert read_error(tmp_path / "b.log") == "MemoryError: 3 GiB"
    log(tmp_path / "c.log", "warning: a\nfine\rwarning: b\nwarning: a\n")
    assert read_warnings(tmp_path / "c.log") == ["a", "b"]
    assert read_error(tmp_path / "c.log") is None
    assert read_error(tmp_path / "absent.log") is None


def test_the_report_runs_again_when_there_are_more_runs_and_not_once_all_are_there(tmp_path):
    files = [tmp_path / name for name in "abc"]
    refresher = Refresher([], files, tmp_path / "log", period_s=0.01, share=1.0)
    refresher.command = ["sh", "-c", f"echo x >> {tmp_path}/reports"]
    files[0].touch()
    refresher.start()
    files[1].touch()
    deadline = time.monotonic() + 60
    while not (tmp_path / "reports").is_file():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    files[2].touch()
    time.sleep(0.1)
    refresher.stop()
    assert (tmp_path / "reports").read_text() == "x\n"
    assert not refresher._thread.is_alive()


def test_text_of_others_is_escaped_for_what_reads_it(tmp_path):
    assert for_terminal("a\x1b[2J\u202eé\n") == "a\\x1b[2J\\u202eé\n"
    assert for_script('"</script>&"') == '"\\u003c/script\\u003e\\u0026"'
    for cell in ("=1+1", "+x", "-x", "@x", "\tx"):
        assert for_spreadsheet(cell) == f"'{cell}"
        assert from_spreadsheet(f"'{cell}") == cell
    assert [for_spreadsheet(cell) for cell in ("a=1", -1.5, None, "'a")] == ["a=1", -1.5, None, "'a"]
    assert from_spreadsheet("'a") == "'a"
    write_csv(tmp_path / "a.csv", [{"@label": "=cmd|' /C calc'!A0", "clips": -3}])
    assert (tmp_path / "a.csv").read_text() == "'@label,clips\n'=cmd|' /C calc'!A0,-3\n"
