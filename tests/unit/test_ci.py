"""The GitHub Actions files call .ci/run, which calls targets of the Makefile, with a Python that the package supports."""

import os
import re
import tomllib

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from repository import ROOT

WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / ".github/workflows").glob("*.yml")}


def test_pushes_to_main_and_pull_requests_are_tested_and_the_newest_versions_by_schedule():
    assert WORKFLOWS["ci"][True] == {"push": {"branches": ["main"]}, "pull_request": None}  # YAML 1.1: `on` is true
    assert WORKFLOWS["newest"][True].keys() == {"schedule", "workflow_dispatch"}


@pytest.mark.parametrize("name", sorted(WORKFLOWS))
def test_a_workflow_runs_the_script_with_a_python_that_the_package_supports(name):
    (job,) = WORKFLOWS[name]["jobs"].values()
    checkout, python, *others = job["steps"]
    assert checkout["uses"].startswith("actions/checkout@")
    supported = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert SpecifierSet(supported).contains(python["with"]["python-version"])
    assert others[-1]["run"] == ".ci/run"
    assert os.access(ROOT / ".ci/run", os.X_OK)
    assert {**job.get("env", {}), **others[-1].get("env", {})}["PYTHON"] == "python"
    assert "${PYTHON:-" in (ROOT / "tools/setup.sh").read_text()


def test_every_target_that_the_script_makes_is_in_the_makefile():
    targets = re.findall(r"^make ([\w-]+)$", (ROOT / ".ci/run").read_text(), flags=re.MULTILINE)
    assert targets == ["check", "test", "test-slow"]
    known = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(targets) <= known
