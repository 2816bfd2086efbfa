"""Plug-ins from outside the package: copies of those in tests/contracts/outside, and `kinetext check-plugin` on them."""

from pathlib import Path

from typer.testing import CliRunner

from kinetext.cli import app
from repository import ROOT

OUTSIDE = ROOT / "tests/contracts/outside"


def check(kind, module, *options):
    """The exit code of `kinetext check-plugin` and what it printed or raised."""
    result = CliRunner().invoke(app, ["check-plugin", kind, str(module), *options])
    assert result.exception is None or isinstance(result.exception, ValueError | SystemExit), result.exception
    return result.exit_code, result.output + str(result.exception or "")


def outside(name, *changes):
    """A copy of a plug-in of the folder `outside`, with changes: old, new, old, new, ..."""
    source = (OUTSIDE / f"{name}.py").read_text()
    for old, new in zip(changes[::2], changes[1::2], strict=True):
        assert old in source
        source = source.replace(old, new)
    Path(f"{name}.py").write_text(source)
    return f"{name}.py"
