"""One file of a results folder: is it whole, and what it should be? A table is read to its end against its schema, a shard
too with the hash of each clip's pictures, weights against the hash in their header, a reply against that of its request.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from kinetext.config.run import read_run
from kinetext.core.schemas import ADDED, SCHEMA_VERSION, TABLES
from kinetext.core.tables import current_names, schema
from kinetext.texts.cache import read_record, request_hash

UNDECLARED = ("profile.json",)  # no rule makes these: they come with others
OF_TRAINING = ("curves.parquet", "cost.json")  # beside a checkpoint, and only made with it


class Said(NamedTuple):
    """What is to be said of something; where there is nothing to do it is only told."""

    where: object
    what: str
    todo: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f"; {self.todo}" if self.todo else "")


def again(path: Path) -> str:
    """What to do about a broken file that the workflow makes. Snakemake makes a missing file when a job needs it or when it
    is asked for; that what is made of it is there keeps it from doing so by itself.
    """
    if path.name in UNDECLARED:
        return "delete it"
    if path.name in OF_TRAINING:
        return f"delete it: the report does without; `snakemake {path}` would train again"
    advice = f"delete it, then `snakemake {path}` makes it again"
    if path.suffix == ".arrow" and path.parents[1].name == "frames":
        # it is too large for Snakemake to compare by content, and comes out the same
        advice += f"; `touch -r {path.parent}/frames.json {path}` then spares what was made of it"
    return advice


def look(path: Path) -> Iterator[Said]:
    """What is wrong with a file of a kind that is known (LOOKS). Never raises."""
    looks_at = kind(path)
    if looks_at is None:
        return
    try:
        yield from LOOKS[looks_at](path)
    except ImportError as error:
        yield Said(path, f"could not be looked at ({first_line(error)})")
    except Exception as error:  # a broken file may make a reader raise anything
        yield Said(path, f"is not whole, or cannot be read ({first_line(error)})", again(path))


def kind(path: Path) -> str | None:
    """How a file is looked at: by its name, its folder's and its suffix, or its suffix."""
    names = (path.name, f"{path.parent.name}/{path.suffix}", path.suffix)
    return next((name for name in names if name in LOOKS), None)


def first_line(error: BaseException) -> str:
    """An error in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _table(path: Path) -> Iterator[Said]:
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        for batch in file.iter_batches():
            batch.validate(full=True)
        yield from _columns(path, file.schema_arrow)


def _shard(path: Path) -> Iterator[Said]:
    """Read by batches and not memory-mapped: a disk that fails then raises instead of killing the process."""
    from kinetext.data.frames import content_hash  # here, so that a package that is missing costs this look alone

    other: list[str] = []
    with pa.OSFile(str(path)) as source:
        file = pa.ipc.open_file(source)
        wrong = list(_columns(path, file.schema))
        for number in range(file.num_record_batches):
            batch = file.get_batch(number)
            batch.validate(full=True)  # before any row is read, which could end the process too
            if {"clip_id", "images", "content_hash"} <= set(batch.schema.names):
                rows = batch.select(["clip_id", "images", "content_hash"]).to_pylist()
                other += [row["clip_id"] for row in rows if content_hash(row["images"]) != row["content_hash"]]
    yield from wrong
    if other:
        yield Said(path, f"{len(other)} clips have other pictures than were written, first {other[0]}", again(path))


def _columns(path: Path, found: pa.Schema) -> Iterator[Said]:
    """A table's columns against those that core/schemas.py declares; some are declared nowhere (a run's curves)."""
    about = found.metadata or {}
    name = about.get(b"kinetext_table", b"").decode()
    version = int(about.get(b"schema_version", SCHEMA_VERSION))
    if version > SCHEMA_VERSION:
        yield Said(path, f"was written by a later kinetext (schema {version}, not {SCHEMA_VERSION})", "update this one")
        return
    found = (
        found
        if name not in TABLES
        else pa.schema([f.with_name(now) for f, now in zip(found, current_names(name, found.names), strict=True)])
    )
    for column in schema(name) if name in TABLES else ():
        if column.name not in found.names:
            if column.name not in ADDED.get(name, ()):
                yield Said(path, f"is no table {name}: column {column.name} is missing", again(path))
        elif found.field(column.name).type != column.type:
            other = found.field(column.name).type
            yield Said(path, f"is no table {name}: column {column.name} is {other}, not {column.type}", again(path))


def _weights(path: Path) -> Iterator[Said]:
    from kinetext.core.tensors import hash_matches

    holds = hash_matches(path)
    if holds is None:
        yield Said(path, "has no hash to compare: an earlier version wrote it")
    elif not holds:
        yield Said(path, "is not what was written: its tensors have another hash", again(path))


def _run(path: Path) -> Iterator[Said]:
    """Its metrics are those of an earlier plan where they say so."""
    spec = read_run(path)
    metrics = path.with_name("metrics.parquet")
    try:
        with pq.ParquetFile(metrics) as file:
            measured = set(file.read(columns=["fingerprint"])["fingerprint"].to_pylist())
    except (pa.ArrowException, OSError, KeyError):  # not measured yet, or the table's own fault
        return
    if measured - {spec.fingerprint}:
        said = ", ".join(sorted(map(str, measured)))
        yield Said(metrics, f"is of an earlier plan of this run ({said}, now {spec.fingerprint})", "run snakemake")


def _list_of_shards(path: Path) -> Iterator[Said]:
    """frames.json against the shards that are there; a shard that cannot be read has its own line."""
    from kinetext.data.frames import frames_digest

    for name, digest in json.loads(path.read_text())["shards"].items():
        shard = path.parent / f"{name}.arrow"
        if not shard.is_file():
            yield Said(shard, f"is missing, but {path} lists it", again(shard).removeprefix("delete it, then "))
            continue
        try:
            found = frames_digest([shard])
        except Exception:
            continue
        if found != digest:
            yield Said(path, f"stands for other pictures than {shard} holds", again(path))


def _reply(path: Path) -> Iterator[Said]:
    """What a language model was paid for; it is called after the hash of its request."""
    try:
        holds = request_hash(read_record(path)["request"]) == path.stem
    except ValueError:
        holds = False
    if not holds:
        yield Said(path, "is not the reply that was kept here", "delete it: its class will be asked for again")


def _json(path: Path) -> Iterator[Said]:
    json.loads(path.read_text())
    yield from ()


def _yaml(path: Path) -> Iterator[Said]:
    if not isinstance(yaml.safe_load(path.read_text()), dict):
        raise ValueError("it names nothing")
    yield from ()


def _arrays(path: Path) -> Iterator[Said]:
    import numpy as np

    with np.load(path) as arrays:
        for name in arrays.files:
            arrays[name]  # which compares the checksum
    yield from ()


LOOKS: dict[str, Callable[[Path], Iterator[Said]]] = {
    "run.yaml": _run,
    "frames.json": _list_of_shards,
    "replies/.json": _reply,
    ".parquet": _table,
    ".arrow": _shard,
    ".safetensors": _weights,
    ".json": _json,
    ".yaml": _yaml,
    ".npz": _arrays,
}
