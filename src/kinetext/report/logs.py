"""What the logs of jobs say: warnings, and the error that ended a job.

A command of kinetext ends with the sentence `kinetext: ...` (cli/__init__.py), and each of its warnings is a line
`warning: ...`. Other programs end with a traceback, or with nothing if they are killed.
"""

import re
from pathlib import Path

TAIL_BYTES = 1 << 16  # of a log that are searched for an error
MAX_LINES = 6  # of an error
TRACEBACK = "Traceback (most recent call last)"


def read_error(log: Path) -> str | None:
    """Return the error that ended a job; None if its log has none, or if there is no log."""
    text = _read_tail(log)
    sentences = list(re.finditer(r"^kinetext: (?!waiting for)", text, re.MULTILINE))
    if sentences:
        lines = text[sentences[-1].end() :].strip().splitlines()
        return "\n".join(lines[:MAX_LINES]) + ("\n..." if len(lines) > MAX_LINES else "")
    lines = text.strip().splitlines()
    return lines[-1].strip() if TRACEBACK in text else None


def read_warnings(log: Path) -> list[str]:
    """Return the warnings of a job, each once."""
    try:
        lines = log.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    return list(dict.fromkeys(line.removeprefix("warning: ") for line in lines if line.startswith("warning: ")))


def last_line(log: Path) -> str:
    """Return the last line of a log that is not empty; "" without one."""
    lines = [line for line in _read_tail(log).splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def _read_tail(log: Path) -> str:
    """Return the end of a log; "" if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            return file.read().decode("utf-8", "replace").replace("\r", "\n")
    except OSError:
        return ""
