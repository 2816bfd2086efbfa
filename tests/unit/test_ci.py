"""The GitHub Actions file calls .ci/run, which calls targets of the Makefile, with a Python that the package supports."""

import os
import re
import tomllib

import yaml
from packaging.specifiers import SpecifierSet

from repository import ROOT

WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())


def test_the_workflow_runs_the_script_for_pushes_to_main_and_for_pull_requests():
    assert WORKFLOW[True] == {"push": {"branches": ["main"]}, "pull_request": None}  # YAML 1.1 reads `on` as true
    (job,) = WORKFLOW["jobs"].values()
    (command,) = [step["run"] for step in job["steps"] if "run" in step]
    assert command == ".ci/run"
    assert os.access(ROOT / command, os.X_OK)


def test_the_python_is_one_that_the_package_supports_and_the_set_up_takes():
    (job,) = WORKFLOW["jobs"].values()
    checkout, python, run = job["steps"]
    assert checkout["uses"].startswith("actions/checkout@")
    supported = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert SpecifierSet(supported).contains(python["with"]["python-version"])
    assert run["env"] == {"PYTHON": "python"}
    assert "${PYTHON:-" in (ROOT / "tools/setup.sh").read_text()


def test_every_target_that_the_script_makes_is_in_the_makefile():
    targets = re.findall(r"^make ([\w-]+)$", (ROOT / ".ci/run").read_text(), flags=re.MULTILINE)
    assert targets == ["check", "test", "test-slow"]
    known = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(targets) <= known
