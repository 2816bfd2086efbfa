"""Warnings in the logs of jobs, and errors that ended a job.

A command of kinetext that fails ends with the line `kinetext: ...` (cli/__init__.py). A warning is a line that begins
with `warning:`. Other programs end with a traceback, or with nothing if they are killed.
"""

import re
from pathlib import Path

TAIL_BYTES = 1 << 16  # of a log that are searched for an error
MAX_LINES = 6  # of an error
TRACEBACK = "Traceback (most recent call last)"


def read_error(log: Path) -> str | None:
    """Return the error that ended a job; None if there is no log or the log has no error."""
    text = _read_tail(log)
    sentences = list(re.finditer(r"^kinetext: (?!waiting for)", text, re.MULTILINE))
    if sentences:
        lines = text[sentences[-1].end() :].strip().splitlines()
        return "\n".join(lines[:MAX_LINES]) + ("\n..." if len(lines) > MAX_LINES else "")
    lines = text.strip().splitlines()
    return lines[-1].strip() if TRACEBACK in text else None


def read_warnings(log: Path) -> list[str]:
    """Return the warnings of a job without duplicates; empty if the log cannot be read."""
    try:
        lines = log.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    return list(dict.fromkeys(line.removeprefix("warning: ") for line in lines if line.startswith("warning: ")))


def last_line(log: Path) -> str:
    """Return the last non-empty line of a log; "" if there is none."""
    lines = [line for line in _read_tail(log).splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def _read_tail(log: Path) -> str:
    """Return the last TAIL_BYTES of a log as text; "" if the log cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            return file.read().decode("utf-8", "replace").replace("\r", "\n")
    except OSError:
        return ""
