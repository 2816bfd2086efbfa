r"""Escape names and texts from outside, such as file names and class names, for a terminal, a spreadsheet or a script.

A name may hold any character. In a terminal `\x1b[2J` clears the screen, in a spreadsheet a cell `=cmd()` is a formula
(OWASP, "CSV injection"), and in HTML `</script>` ends a script wherever it appears.
"""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kinetext.core.files import atomic_write

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # first characters of a cell that a spreadsheet computes


def for_terminal(text: str) -> str:
    r"""Return a text with its control characters escaped, for instance as \x1b or \u202e; line breaks and tabs stay."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


def for_script(json_text: str) -> str:
    r"""Escape `<`, `>` and `&` in a JSON text as \u003c and so on, so that a <script> or a shell may contain it."""
    return json_text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def for_spreadsheet(value: Any) -> Any:
    """Return a cell that a spreadsheet does not compute: a text that resembles a formula gets a leading apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def from_spreadsheet(cell: str) -> str:
    """Return the original text of a cell that `for_spreadsheet` escaped."""
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(FORMULA) else cell


def write_csv(
    path: Path, rows: Iterable[dict[str, Any]], columns: Iterable[str] | None = None, encoding: str = "utf-8"
) -> None:
    """Write rows as CSV for spreadsheets. `columns` are the columns to write, by default those of the first row.

    With the encoding utf-8-sig the file begins with a byte order mark, without which Excel misreads non-English
    letters.
    """
    if columns is None:
        rows = list(rows)
        columns = list(rows[0]) if rows else []
    names = list(columns)
    with atomic_write(path) as part, part.open("w", newline="", encoding=encoding, errors="backslashreplace") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(map(for_spreadsheet, names))
        writer.writerows([for_spreadsheet(row.get(name)) for name in names] for row in rows)
