"""What a command prints to the terminal: one sentence for an error, without control characters from names."""

import logging
from unittest.mock import Mock

import pytest

from kinetext import cli


@pytest.mark.parametrize(
    ("error", "first", "last"),
    [
        (MemoryError(), "kinetext: the memory is full; run fewer jobs at a time (", "set training.micro_batch lower"),
        (ValueError("no class \x1b[2J"), "kinetext: no class \\x1b[2J", ""),
    ],
)
def test_an_error_is_one_printable_sentence(monkeypatch, capsys, error, first, last):
    for name in ("gc", "logging", "block_pandas_import"):  # settings of the whole process
        monkeypatch.setattr(cli, name, Mock())
    monkeypatch.setattr(cli, "app", Mock(side_effect=error))
    with pytest.raises(SystemExit, match=r"^1$"):
        cli.main()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(first)
    assert line.endswith(last)


def test_a_warning_is_printable():
    record = logging.LogRecord("kinetext.data", logging.WARNING, "", 0, "no class %s", ("\x1b[2J",), None)
    assert cli._Formatter("%(message)s").format(record) == "warning: no class \\x1b[2J"
