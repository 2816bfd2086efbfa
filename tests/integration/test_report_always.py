"""A study without the key of its language model still ends with a report, and the terminal with the reason."""

import re

import pytest

from calls import overlay, snakemake
from reported import Page

pytestmark = pytest.mark.workflow


@pytest.fixture
def no_key(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KINETEXT_PREFLIGHT", "warn")  # run what does not need the key


def test_a_study_without_a_key_ends_with_a_report(copied, tmp_path, no_key):
    configs = overlay(
        tmp_path,
        texts={"gpt": {"module": "chat_api", "options": {"model": "gpt-4o"}}},
        experiments={"tiny": {"texts": ["names", "gpt"]}},
        report={"title": "</script><script>alert(1)</script>"},
    )
    done = snakemake(copied, configs=configs)
    assert done.returncode != 0
    page = (copied / "results/report.html").read_text()
    sections = Page(page).text
    assert "Not finished: 2 of 4 runs" in sections["top"]
    assert re.search(r"describe_classes: .*OPENAI_API_KEY", sections["unfinished"])
    assert "zero_ shot names" in sections["results"]  # the finished runs have their numbers
    assert "<script>alert" not in page
    end = done.output[done.output.rindex("shapes, test clips, base_to_novel: top1") :]
    assert re.search(r"^  zero_shot · names +\d", end, re.M)
    assert re.search(r"zero_shot · gpt  failed \(seed 0\): describe_classes: ", end)
    assert "OPENAI_API_KEY" in end[end.index("Failed (1):") :]
    assert "Report: results/report.html (2 of 4 runs are not finished; the same command resumes)" in end
    assert len(end.splitlines()) < 60

    # without these texts the study is complete again, and so is its page
    done = snakemake(copied, configs=overlay(tmp_path, report={"title": "</script><script>alert(1)</script>"}))
    assert done.returncode == 0, done.output
    assert "unfinished" not in Page((copied / "results/report.html").read_text()).sections
    assert not (copied / "results/unfinished").exists()
    assert re.search(r"^Report: results/report.html$", done.output, re.M)

    # Snakemake's own report puts parameters into a script
    done = snakemake(
        copied,
        "--report",
        "own.html",
        configs=overlay(tmp_path, report={"title": "</script><script>alert(1)</script>"}),
    )
    assert done.returncode == 0, done.output
    assert "<script>alert(1)" not in (copied / "own.html").read_text()
