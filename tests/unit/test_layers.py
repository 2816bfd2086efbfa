"""Imports point down only (pyproject.toml, [tool.importlinter]); held by import-linter."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from repository import ROOT

LINT = Path(sys.executable).parent / "lint-imports"


def lint(folder, *arguments):
    return subprocess.run([LINT, "--no-cache", *arguments], cwd=folder, capture_output=True, text=True, check=False)


def layers():
    """The parts of the package that the contract orders, all of them in one set."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return {part.strip() for layer in contracts[0]["layers"] for part in layer.split("|")}


def test_imports_point_down_only():
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout
    assert "4 kept, 0 broken" in done.stdout


def test_every_part_of_the_package_has_a_layer():
    """A new folder or module beside the others must be put into a layer, or nothing holds it."""
    modules = {
        f"kinetext.{p.stem}"
        for p in (ROOT / "src/kinetext").iterdir()
        if p.suffix == ".py" or (p / "__init__.py").exists()
    }
    assert modules - {"kinetext.__init__", "kinetext.__main__"} == layers()


def test_an_import_that_points_up_or_aside_is_found(tmp_path):
    """The contract can fail: a small package of the same shape with training importing evaluation."""
    package = tmp_path / "src" / "kinetext"
    package.mkdir(parents=True)
    for part in layers():
        module = package / part.removeprefix("kinetext.")
        if (ROOT / "src/kinetext" / module.name).is_dir():
            module.mkdir(parents=True)
            (module / "__init__.py").touch()
        else:
            module.with_suffix(".py").touch()
    (package / "__init__.py").touch()
    toml = (ROOT / "pyproject.toml").read_text()
    first, *_ = toml[toml.index("[tool.importlinter]") :].split('\n[[tool.importlinter.contracts]]\nname = "only')
    (tmp_path / "pyproject.toml").write_text(first)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}

    def kept():
        done = subprocess.run(
            [LINT, "--no-cache"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert "Contracts: " in done.stdout, done.stdout + done.stderr
        return "1 kept, 0 broken" in done.stdout

    assert kept()
    for module, line in (
        ("evaluation/__init__.py", "import kinetext.training"),
        ("data/__init__.py", "import kinetext.methods"),
        ("core/__init__.py", "import kinetext.config"),
        ("report/__init__.py", "import kinetext.cli"),
    ):
        (package / module).write_text(line + "\n")
        assert not kept(), line
        (package / module).write_text("")
