"""Sentences from a file of the user.

`kinetext export-texts` writes a table of texts as .csv or .json, and this provider reads the edited file. The sentences
are checked like those of a language model. The file has one row per sentence. Only `label` and `sentence` are needed;
`kind` defaults to motion, `position` to the whole action; a position is a number from 0 (start) to 1 (end), or the word
start, end or whole. Files of earlier versions, with a column `phase` of such words, are read. An exported row has a digest of its content: an unchanged row keeps its
provenance, and the source of a changed row is "edited by hand".
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import Field

from kinetext.core.escape import from_spreadsheet, write_csv
from kinetext.core.files import atomic_write
from kinetext.core.plugins import Options, error_prefix, nearest
from kinetext.core.schemas import DESCRIPTIONS, TABLES
from kinetext.core.tables import read_rows
from kinetext.data.lists import file_state, known_class, need_path, read_csv, read_entries
from kinetext.texts.positions import parse_position
from kinetext.texts.providers.base import Context, Provider, Text

KINDS = ("name", *DESCRIPTIONS)
EDITED = ("label", "kind", "position", "sentence", "status", "rival")  # in a convenient order for editing
COLUMNS = (*EDITED, "source", "prompt_version", "model", "date", "request_hash", "clips", "digest")
HINT = "write one with `kinetext export-texts --texts results/data/.../texts/NAME.parquet --output FILE`"


class File(Provider):
    """Names and descriptions from a file of the user."""

    class Config(Options):
        """Path of the file, and whether its sentences are checked."""

        path: str = Field(description="the .csv or .json file, UTF-8")
        skip_checks: bool = Field(False, description="use every sentence unchecked")

    @property
    def skip_checks(self) -> bool:
        """Whether sentences are used unchecked."""
        return self.config.skip_checks

    def check(self) -> None:
        """Raise ValueError, with file and line, if the file is missing or a row is wrong."""
        for _ in _rows(*self.list_files()):
            pass

    def list_files(self) -> list[Path]:
        """Return the user's file."""
        try:
            return [need_path(self.config.path, "path")]
        except ValueError as error:
            raise ValueError(f"{error}; {HINT}") from None

    def describe(self, label: str, rivals: list[str], context: Context) -> list[Text]:
        """Return the rows of a class, or one row with the status `missing: ...` if the file has none.

        A row about a class that is not in the data set is ignored, with a warning that names the most similar class.
        """
        (path,) = self.list_files()
        texts = _texts_by_label(path, file_state(str(path)), tuple(context.labels)).get(label)
        missing = f"missing: {path.name} has no sentence about it"
        return texts or [Text(label, "", kind="motion", source=path.name, status=missing)]


def export_texts(texts: Path, output: Path) -> None:
    """Write a table `texts` as a .csv or .json file for editing.

    Raises ValueError for any other suffix, for an existing file, and for a table of captions.
    """
    if output.suffix not in (".csv", ".json"):
        raise ValueError(f"--output: {output} ends in '{output.suffix}'; it must end in .csv or .json")
    if output.exists():
        raise ValueError(f"--output: {output} exists; its edits would be lost; choose another name")
    table = [
        row | {"position": "" if row["position"] is None else str(row["position"]).removesuffix(".0")}
        for row in read_rows("texts", texts)
    ]
    table = [row | {"digest": digest(row, "position")} for row in table]
    if any(row["kind"] == "caption" for row in table):
        raise ValueError(f"{texts}: holds captions; edit them in the data set")
    rows = [{column: row[column] for column in COLUMNS} for row in table]
    if output.suffix == ".csv":
        write_csv(output, rows, COLUMNS, encoding="utf-8-sig")
        return
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)  # one row per line
    with atomic_write(output) as part:
        part.write_text(f"[\n{lines}\n]\n", "utf-8")


def digest(row: dict[str, Any], position: str) -> str:
    """Return a digest of a row's label, kind, position and sentence, by which an edited row is recognised.

    `position` is the name of its column: `phase` in files of earlier versions.
    """
    content = "\0".join(row[column].strip() for column in ("label", "kind", position, "sentence"))
    return hashlib.sha256(content.encode()).hexdigest()[:12]


@cache
def _texts_by_label(path: Path, state: tuple[int, ...], labels: tuple[str, ...]) -> dict[str, list[Text]]:
    """Return the rows of the file by label. `state` is part of the cache key, so that a changed file is read again."""
    known = set(labels)
    texts: dict[str, list[Text]] = {}
    for where, text in _rows(path):
        try:
            label = known_class(text.label, known, where, "the data set")
        except ValueError as warning:
            print(f"warning: {warning}\nThe row is ignored.", file=sys.stderr)
        else:
            texts.setdefault(label, []).append(text)
    return texts


def _rows(path: Path) -> Iterator[tuple[str, Text]]:
    """Yield pairs (position, row) of the file; the position, `FILE:LINE`, is for error messages.

    Raises ValueError for a wrong row.
    """
    if path.suffix == ".json":
        entries = read_entries(path, "label", "sentence")
    elif path.suffix == ".csv":
        entries = (
            (f"{path}:{line}", {key: from_spreadsheet(value or "") for key, value in row.items()})
            for line, row in read_csv(path, "label", "sentence", delimiter=_delimiter(path))
        )
    else:
        raise ValueError(f"path: {path} ends in '{path.suffix}'; it must end in .csv or .json")
    for where, entry in entries:
        if type(entry.get("position")) in (int, float):  # JSON
            entry = {**entry, "position": str(entry["position"])}
        for key, value in entry.items():
            if value is not None and not isinstance(value, str):
                raise ValueError(f"{where}: {key} is {value!r}; it must be text")
        yield where, _text({key: (value or "").strip() for key, value in entry.items()}, where, path)


def _text(row: dict[str, str], where: str, path: Path) -> Text:
    column = "position" if "position" in row else "phase"
    row |= {"kind": row.get("kind") or "motion", column: row.get(column) or ("whole" if column == "phase" else "")}
    if row["kind"] not in KINDS:
        raise ValueError(f"{where}: kind is '{row['kind']}'{nearest(row['kind'], list(KINDS))}")
    with error_prefix(where):
        position = parse_position(row[column])
    if not row["label"]:
        raise ValueError(f"{where}: label is empty; it must name a class")
    content: dict[str, Any] = {key: row[key] for key in ("label", "kind", "sentence")}
    content |= {"position": position, "rival": row.get("rival") or None}
    if row.get("digest") != digest(row, column):
        return Text(**content, source=f"edited by hand: {path.name}")
    columns = [name for name, _, _ in TABLES["texts"]]
    kept = {key: value or None for key, value in row.items() if key in columns and key not in content}
    kept |= {"source": kept.get("source") or "", "status": kept.get("status") or "ok"}
    return Text(**content, **kept)  # type: ignore[arg-type]


def _delimiter(path: Path) -> str:
    """Return the separator of a csv file: comma, semicolon or tab, whichever is most frequent in the header."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        header = file.readline()
    return max(",;\t", key=header.count)
