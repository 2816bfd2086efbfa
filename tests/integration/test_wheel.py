"""The wheel holds the workflow: installed into a fresh environment, `kinetext run` works in an empty folder."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from calls import TINY, jobs
from repository import ROOT

UV = Path(sys.executable).with_name("uv")
PACKAGE = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "my-lab"
version = "1.0"

[project.entry-points."kinetext.metrics"]
my_calibration = "my_lab.calibration"

[tool.hatch.build.targets.wheel]
packages = ["my_lab"]
"""


def call(*words, **options):
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(word) for word in words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=900,
        **options,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    call(UV, "build", "--wheel", "--out-dir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """A virtual environment with the wheel; its dependencies are those of this Python's environment."""
    folder = tmp_path_factory.mktemp("venv") / "venv"
    call(UV, "venv", "--python", sys.executable, folder)
    call(UV, "pip", "install", "--no-deps", "--python", folder / "bin/python", wheel)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return folder


@pytest.fixture
def empty(tmp_path):
    """A folder that holds a configuration and nothing else."""
    shutil.copy(TINY, tmp_path / "mine.yaml")
    return tmp_path


def test_the_wheel_holds_every_file_of_the_workflow(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in [ROOT / "Snakefile", ROOT / "config.yaml", *ROOT.glob("workflow/**/*"), *ROOT.glob("envs/*")]:
        if path.is_file():
            assert f"kinetext/_workflow/{path.relative_to(ROOT)}" in names
    assert "kinetext/_workflow/profiles/default/config.yaml" in names
    assert "kinetext/py.typed" in names


def test_an_installed_package_plans_the_runs_of_a_configuration(environment, empty):
    output = call(environment / "bin/kinetext", "run", "mine.yaml", "--", "-n", cwd=empty)
    assert jobs(output)["train_method"] == 1
    (profile,) = environment.glob("lib/python*/site-packages/kinetext/_workflow/profiles/default")
    assert f"profile {profile}" in output
    assert not (empty / "results").exists()


def test_an_installed_package_runs_a_job_in_the_current_folder(environment, empty):
    clips = "results/data/shapes/clips.parquet"
    call(environment / "bin/kinetext", "run", "mine.yaml", "--", clips, "--cores", "1", cwd=empty)
    assert (empty / clips).is_file()
    program = "import kinetext; print(kinetext.__file__, len(kinetext.check_config('mine.yaml')))"
    path, runs = call(environment / "bin/python", "-c", program, cwd=empty).split()
    assert path.startswith(str(environment))
    assert runs == "2"


def test_a_plugin_of_an_installed_package_is_found_and_checked(environment, empty):
    """A small package with an entry point, installed beside kinetext: its metric is known by name."""
    package = empty / "my_lab"
    (package / "my_lab").mkdir(parents=True)
    (package / "my_lab/__init__.py").write_text("")
    shutil.copy(ROOT / "tests/contracts/outside/calibration.py", package / "my_lab/calibration.py")
    (package / "pyproject.toml").write_text(PACKAGE)
    call(UV, "pip", "install", "--no-deps", "--python", environment / "bin/python", package)
    output = call(environment / "bin/kinetext", "check-plugin", "metrics", "my_calibration", cwd=empty)
    assert "ok" in output.lower()


def test_a_checkout_runs_its_own_workflow(empty):
    words = [sys.executable, "-m", "kinetext", "run", "mine.yaml", "-n"]
    done = subprocess.run(words, cwd=empty, capture_output=True, text=True, check=True, timeout=300)
    assert f"{ROOT}/profiles/default" in done.stderr
    assert jobs(done.stdout + done.stderr)["train_method"] == 1


def test_a_missing_configuration_is_one_sentence(tmp_path):
    words = [sys.executable, "-m", "kinetext", "run", "mine.yaml"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert done.stderr.startswith("kinetext: mine.yaml: there is no such file; the demo's configuration is ")
    assert done.stderr.strip().endswith("config.yaml")
