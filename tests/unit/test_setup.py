"""The pins are the same everywhere, and `make setup` says what a machine lacks before it downloads anything."""

import os
import re
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml

from repository import ROOT

PIN = re.compile(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.+!]+)( ; .+)?")


def pins():
    return (ROOT / "requirements.lock").read_text().splitlines()


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_lock_holds_pins_and_nothing_else():
    """No address of an index either: a pin must install from whichever index the machine uses."""
    odd = [line for line in pins() if not PIN.fullmatch(line)]
    assert odd == []
    assert not [line for line in pins() if "://" in line or " @ " in line]


def test_every_dependency_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {*project["dependencies"], *project["optional-dependencies"]["dev"]}
    pinned = {normal(PIN.fullmatch(line)[1]) for line in pins()}
    assert {normal(re.match(r"[\w.-]+", name)[0]) for name in wanted} - pinned == set()


def test_a_package_has_one_pin_or_one_per_marker():
    seen = {}
    for line in pins():
        name, _, marker = PIN.fullmatch(line).groups()
        seen.setdefault(normal(name), []).append(marker)
    assert [name for name, markers in seen.items() if len(markers) > 1 and None in markers] == []


def test_conda_gets_the_same_pins():
    environment = yaml.safe_load((ROOT / "envs/kinetext.yaml").read_text())
    (pip,) = [part["pip"] for part in environment["dependencies"] if isinstance(part, dict)]
    assert pip == pins(), "run `python tools/make_env.py`"
    code = (
        "import make_env, yaml; print(yaml.safe_dump(make_env.conda_environment(), sort_keys=False, width=200), end='')"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "tools", capture_output=True, text=True, check=True
    )
    assert printed.stdout == (ROOT / "envs/kinetext.yaml").read_text()


# ---- tools/setup.sh, in a copy of what it reads, with false programs first on PATH


@pytest.fixture
def checkout(tmp_path):
    """A checkout without .venv; `checkout.run(PYTHON=...)` runs its setup, `checkout.program(name, lines)` fakes one."""
    checkout = tmp_path / "checkout"
    for name in ("requirements.lock", "pyproject.toml", "tools/setup.sh"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, checkout / name)
    programs = tmp_path / "bin"
    programs.mkdir()

    class Checkout:
        root = checkout

        def program(self, name, *lines):
            (programs / name).write_text("\n".join(["#!/bin/sh", *lines, ""]))
            (programs / name).chmod(0o755)
            return str(programs / name)

        def run(self, **environment):
            path = f"{programs}:/usr/bin:/bin"
            return subprocess.run(
                [checkout / "tools/setup.sh"],
                env={"HOME": os.environ.get("HOME", "/"), "PATH": path, **environment},
                capture_output=True,
                text=True,
                timeout=60,
            )

    return Checkout()


OLD = ('if [ "$1" = --version ]; then echo Python 3.9.2; exit 0; fi', "exit 1")  # -c: the check of the version fails
NEW = ('if [ "$1" = --version ]; then echo Python 3.12.1; exit 0; fi', '[ "$1" = -c ] && exit 0', "exit 9")


def test_an_old_python_is_refused_by_version(checkout):
    for name in ("python3.12", "python3.11", "python3"):
        checkout.program(name, *OLD)
    done = checkout.run()
    assert done.returncode == 1
    assert done.stderr == (
        "setup: kinetext needs Python 3.11 or 3.12, found Python 3.9.2; install one, or name it: "
        "make setup PYTHON=/path/to/python3.12\n"
    )
    assert not (checkout.root / ".venv").exists()


def test_a_python_that_is_named_is_checked_too(checkout):
    for name in ("python3.12", "python3.11", "python3"):
        checkout.program(name, *NEW)
    done = checkout.run(PYTHON=checkout.program("mine", *OLD))
    assert (done.returncode, "found Python 3.9.2" in done.stderr) == (1, True)
    done = checkout.run(PYTHON="/no/python")
    assert (done.returncode, "found no /no/python" in done.stderr) == (1, True)


def test_a_full_disk_is_said_before_anything_is_downloaded(checkout):
    python = checkout.program("python3.12", *NEW)
    checkout.program("df", "echo '    Avail'", "echo 3145728")  # KiB
    done = checkout.run(PYTHON=python)
    assert done.returncode == 1
    assert done.stderr == (
        f"setup: {checkout.root} has 3 GiB free and the packages need about 9; free some space and run make setup again\n"
    )
    assert not (checkout.root / ".venv").exists()


def test_with_a_python_and_room_the_environment_is_begun(checkout):
    """The counterpart of the two refusals: the same programs with room get as far as `python -m venv`."""
    python = checkout.program("python3.12", *NEW)
    checkout.program("df", "echo '    Avail'", "echo 31457280")
    done = checkout.run(PYTHON=python)
    assert f"setup: '{python} -m venv' failed" in done.stderr
