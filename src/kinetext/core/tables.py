"""Read and write the tables that the commands exchange. `schemas.py` declares their columns.

Every Parquet and Arrow file of kinetext is written here, first under a temporary name and then renamed, so that a
killed job leaves no incomplete table.
"""

import hashlib
import json
import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kinetext.core import collected, schemas
from kinetext.core.files import atomic_write
from kinetext.core.schema_versions import ADDED, CONVERTED, RENAMED, SCHEMA_VERSION

TABLES = schemas.TABLES | collected.TABLES
CONTENT_HASH = "content_hash"  # key of the footer
READ_ERRORS = (pa.ArrowException, OSError, ValueError)  # of a file that is damaged, or no table
PART_NUMBERS = 2**24  # in arrays, that a row group of rows in memory holds at most
MAX_SPARSE_ROWS = 1_000_000  # a table with more rows must have at least one byte per row
THREADS_FROM = 2**24  # bytes of a file; below, starting threads takes longer than decoding


@cache
def schema(name: str) -> pa.Schema:
    """Return the Arrow schema of a table, with each column's meaning as its field metadata."""
    fields = [pa.field(column, kind, metadata={"meaning": meaning}) for column, kind, meaning in TABLES[name]]
    return pa.schema(fields, metadata={"kinetext_table": name, "schema_version": str(SCHEMA_VERSION)})


def write_table(
    name: str, rows: Iterable[dict[str, Any]] | pa.Table, path: Path, metadata: dict[str, Any] | None = None
) -> None:
    """Write rows, or an Arrow table, as the table `name` in Parquet. A column that a row lacks becomes null.

    Raises ValueError for a column that the schema does not declare.
    """
    kind = schema(name)
    if metadata:
        kind = kind.with_metadata({**(kind.metadata or {}), **{k: json.dumps(v) for k, v in metadata.items()}})
    if isinstance(rows, pa.Table):
        parts = iter([rows.cast(kind)])
    else:
        rows = list(rows)
        unknown = {key for row in rows for key in row} - set(kind.names)
        if unknown:
            raise ValueError(
                f"table {name} declares no column {sorted(unknown)}; see core/schemas.py and core/collected.py"
            )
        parts = _arrow_parts(rows, kind)
    with (
        atomic_write(path) as part,
        part.open("w+b") as file,
        pq.ParquetWriter(
            file, kind, compression="zstd", write_page_checksum=True, use_dictionary=_encoded_columns(kind)
        ) as writer,
    ):
        for table in parts:
            writer.write_table(table)
        writer.add_key_value_metadata({CONTENT_HASH: _file_hash(file, file.tell())})


def _encoded_columns(kind: pa.Schema) -> list[str]:
    """Return the columns to write as indices into a dictionary: all but floats, which seldom repeat."""
    columns = []
    for path, values in zip(kind.names, kind.types, strict=True):
        while pa.types.is_list(values):
            path, values = f"{path}.list.element", values.value_type
        if not pa.types.is_floating(values):
            columns.append(path)
    return columns


def _arrow_parts(rows: list[dict[str, Any]], kind: pa.Schema) -> Iterator[pa.Table]:
    """Yield the rows as Arrow tables, which become row groups. Arrow holds a copy of one part only.

    Rows without arrays, and rows with few numbers, are one part. The scores of 10 000 clips for 10 000 captions are
    1.6 GB in four frame orders.
    """
    numbers = max((sum(v.size for v in row.values() if isinstance(v, np.ndarray)) for row in rows), default=0)
    step = max(1, PART_NUMBERS // max(1, numbers)) if numbers else max(1, len(rows))
    for start in range(0, max(1, len(rows)), step):
        yield pa.Table.from_pylist(rows[start : start + step], schema=kind)


def content_matches(path: Path) -> bool | None:
    """Return whether a Parquet file is unchanged since `write_table` wrote it; None if the file has no hash.

    The hash is in the footer and covers every byte before it, so that a table that another program edited and saved is
    noticed.
    """
    with path.open("rb") as file:
        stored = (pq.read_metadata(file).metadata or {}).get(CONTENT_HASH.encode())
        if stored is None:
            return None
        file.seek(-8, os.SEEK_END)
        footer = int.from_bytes(file.read(4), "little")
        return _file_hash(file, file.tell() - 4 - footer) == stored.decode()


def _file_hash(file: BinaryIO, num_bytes: int) -> str:
    """Return a hash of the first `num_bytes` bytes of a file."""
    file.flush()
    file.seek(0)
    digest = hashlib.blake2b(digest_size=16)
    while num_bytes > 0:
        chunk = file.read(min(num_bytes, 2**24))
        if not chunk:
            break
        digest.update(chunk)
        num_bytes -= len(chunk)
    return digest.hexdigest()


def open_table(path: Path, encoded: Sequence[str] = ()) -> pq.ParquetFile:
    """Open a Parquet file, with checksums verified on reading. Raises ValueError if it has far more rows than bytes.

    A file of a few kilobytes can declare millions of null rows, which would fill the memory. Strings of the columns
    `encoded` stay indices into a dictionary, which is faster where few strings repeat.
    """
    file = pq.ParquetFile(path, page_checksum_verification=True, read_dictionary=list(encoded))
    num_rows, num_bytes = file.metadata.num_rows, path.stat().st_size
    if num_rows > max(MAX_SPARSE_ROWS, num_bytes):
        file.close()
        raise ValueError(f"it declares {num_rows} rows in {num_bytes} bytes")
    return file


def read_table(name: str, path: Path, encoded: Sequence[str] = ()) -> pa.Table:
    """Read a Parquet file as the table `name`, with the declared columns in order.

    In files of an earlier version, renamed columns get their new names (RENAMED), words become numbers (CONVERTED),
    missing columns are null (ADDED), and removed columns are dropped. `encoded` is that of `open_table`. Raises
    ValueError with the path if the file is damaged, is another table, or was written by a later version.
    """
    try:
        # pq.read_table imports pyarrow.dataset and pandas, half a second
        with open_table(path, encoded) as file:
            table = file.read(use_threads=path.stat().st_size > THREADS_FROM)
        version = int((table.schema.metadata or {}).get(b"schema_version", SCHEMA_VERSION))
    except READ_ERRORS as error:
        raise ValueError(f"{path}: cannot be read as the table {name} ({error}); delete it and run again") from error
    if version > SCHEMA_VERSION:
        raise ValueError(
            f"{path}: was written by a later kinetext (schema {version}, known: up to {SCHEMA_VERSION}); update it"
        )
    metadata = table.schema.metadata
    table = table.rename_columns(current_names(name, table.column_names)).replace_schema_metadata(metadata)
    for column, values in CONVERTED.get(name, {}).items():
        if column in table.column_names and pa.types.is_string(table.schema.field(column).type):
            table = _convert_words(table, schema(name).field(column), values, path)
    for column in ADDED.get(name, ()):
        if column not in table.column_names:
            field = schema(name).field(column)
            table = table.append_column(field, pa.nulls(len(table), field.type))
    columns = set(table.column_names)
    missing = [column for column in schema(name).names if column not in columns]
    if missing:
        raise ValueError(f"{path}: is no table {name}: column {missing[0]} is missing")
    return table.select(schema(name).names)


def _convert_words(table: pa.Table, field: pa.Field, values: dict[str, float | None], path: Path) -> pa.Table:
    """Return the table with the words of a column replaced by `values`. Raises ValueError for an unknown word."""
    words = table[field.name].to_pylist()
    unknown = {str(word) for word in words} - values.keys()
    if unknown:
        raise ValueError(
            f"{path}: {field.name} is '{min(unknown)}'; an earlier version knew {', '.join(values)}; delete it and run again"
        )
    column = pa.array([values[word] for word in words], field.type)
    return table.set_column(table.column_names.index(field.name), field, column)


def current_names(name: str, columns: list[str]) -> list[str]:
    """Return the current names of the columns of a file of the table `name`. The file may have any version."""
    renamed = RENAMED.get(name, {})
    return [renamed.get(column, column) for column in columns]


def read_rows(name: str, path: Path) -> list[dict[str, Any]]:
    """Read a Parquet table as a list of rows, one dictionary per row."""
    return read_table(name, path).to_pylist()


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata that was given to `write_table`.

    Raises ValueError with the path if the file cannot be read.
    """
    try:
        return metadata_of(pq.read_schema(path))
    except READ_ERRORS as error:
        raise ValueError(f"{path}: cannot be read as a table ({error}); delete it and run again") from error


def metadata_of(table_schema: pa.Schema) -> dict[str, Any]:
    """Return the metadata that was given to `write_table`, from the schema of a table in memory."""
    raw = table_schema.metadata or {}
    reserved = {"kinetext_table", "schema_version", "ARROW:schema", CONTENT_HASH}
    return {k.decode(): json.loads(v) for k, v in raw.items() if k.decode() not in reserved}


def write_shard(name: str, batches: Iterable[list[dict[str, Any]]], path: Path) -> None:
    """Write an uncompressed Arrow IPC file, one record batch per list of rows, for random access by memory map."""
    kind = schema(name)
    with atomic_write(path) as part, pa.OSFile(str(part), "wb") as sink, pa.ipc.new_file(sink, kind) as writer:
        for rows in batches:
            writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=kind))


def open_shard(name: str, path: Path) -> pa.Table:
    """Memory-map an Arrow IPC file. Raises ValueError with the path if it is damaged.

    All offsets are checked, because with damaged offsets Arrow would read beyond the file and crash the process.
    """
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path), "r")).read_all()
        table.validate(full=True)
        return table
    except READ_ERRORS as error:
        raise ValueError(f"{path}: cannot be read as a shard of {name} ({error}); delete it and run again") from error


def code_commit() -> str | None:
    """Return the short git commit of this code for the columns `commit`.

    Returns None if git does not track this package, for instance because it is installed.
    """

    def git(*words: str) -> str | None:
        done = subprocess.run(["git", "-C", str(module.parent), *words], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    module = Path(__file__)
    try:
        # an installed copy may be inside another project's checkout, whose commit would be the wrong one
        return git("rev-parse", "--short", "HEAD") if git("ls-files", "--error-unmatch", module.name) else None
    except OSError:  # git is not installed
        return None
