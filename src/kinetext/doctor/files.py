"""Check one file of a results folder.

Tables are read to the end and compared with their schema and the hash in their footer. Shards are compared with the
hash of each clip's images, weights with the hash in their header, and cached replies with the hashes of their request
and their content. run.yaml is compared with its fingerprint, and listed videos with their recorded size and time.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from shlex import quote
from typing import NamedTuple

import pyarrow as pa

from kinetext.config.run import fingerprint_of, read_run
from kinetext.core.documents import load_json, load_yaml
from kinetext.core.schema_versions import ADDED, CONVERTED, SCHEMA_VERSION
from kinetext.core.tables import TABLES, content_matches, current_names, open_table, schema
from kinetext.data.lists import printable
from kinetext.data.stale import stale_clips
from kinetext.texts.cache import read_record, record_digest, request_hash

UNDECLARED = ("profile.json",)  # not an output of any rule
FROM_TRAINING = ("curves.parquet", "cost.json")  # written with the checkpoint, and only then


class Finding(NamedTuple):
    """Something that doctor reports. If `repair` is empty, no action is needed."""

    subject: object
    problem: str
    repair: str = ""

    def __str__(self) -> str:
        return f"{self.subject}: {self.problem}" + (f"; {self.repair}" if self.repair else "")


def repair_hint(path: Path) -> str:
    """Return how to replace a broken file of the workflow.

    Snakemake creates a missing file when a job needs it or when its name is on the command line. While the files made
    from it exist, Snakemake does not create it without being asked.
    """
    if path.name in UNDECLARED:
        return "delete it"
    if path.name in FROM_TRAINING:
        return f"delete it: the report works without it; `snakemake {quote(str(path))}` would train again"
    hint = f"delete it, then `snakemake {quote(str(path))}` creates it again"
    if path.suffix == ".arrow" and path.parents[1].name == "frames":
        # too large for Snakemake to compare by content, and identical when extracted again
        hint += f"; then `touch -r {quote(str(path.with_name('frames.json')))} {quote(str(path))}` keeps Snakemake from rerunning what used it"
    return hint


def missing(path: Path, problem: str = "is missing") -> Finding:
    """Return the finding about a file that does not exist."""
    return Finding(path, problem, repair_hint(path).removeprefix("delete it, then "))


def check_file(path: Path) -> Iterator[Finding]:
    """Yield the findings about a file whose kind is in CHECKS. Errors become findings and are never raised."""
    kind = file_kind(path)
    if kind is None:
        return
    try:
        yield from CHECKS[kind](path)
    except ImportError as error:
        yield Finding(path, f"could not be checked ({first_line(error)})")
    except Exception as error:  # a broken file can make a reader raise anything
        yield Finding(path, f"is damaged or unreadable ({first_line(error)})", repair_hint(path))


def file_kind(path: Path) -> str | None:
    """Return the key of CHECKS for a file: its name, `folder/suffix` or its suffix. Return None if no key matches."""
    names = (path.name, f"{path.parent.name}/{path.suffix}", path.suffix)
    return next((name for name in names if name in CHECKS), None)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, at most 200 characters; the name of its type if it is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _check_table(path: Path) -> Iterator[Finding]:
    with open_table(path) as file:
        for batch in file.iter_batches():
            batch.validate(full=True)
        findings = list(_check_columns(path, file.schema_arrow))
    if not findings and content_matches(path) is False:
        problem = "was changed after kinetext wrote it: its content has another hash"
        findings.append(Finding(path, problem, repair_hint(path)))
    yield from findings


def _check_clips(path: Path) -> Iterator[Finding]:
    """Check the table, then the size and time of each listed video."""
    findings = list(_check_table(path))
    yield from findings
    stale = [] if findings else stale_clips(path)
    if stale:
        first = ", ".join(map(printable, stale[:3])) + (", ..." if len(stale) > 3 else "")
        problem = f"{len(stale)} videos changed since they were listed: {first}"
        yield Finding(path, problem, "`snakemake --forcerun index_clips` extracts them again")


def _check_shard(path: Path) -> Iterator[Finding]:
    """Check the schema of a shard and the images of its clips.

    It is read batch by batch without memory mapping: a failing disk then raises an error instead of killing the
    process.
    """
    from kinetext.data.images import content_hash  # here, so that a missing package affects this check only

    changed: list[str] = []
    with pa.OSFile(str(path)) as source:
        file = pa.ipc.open_file(source)
        findings = list(_check_columns(path, file.schema))
        for number in range(file.num_record_batches):
            batch = file.get_batch(number)
            batch.validate(full=True)  # before a row is read: a broken offset could crash the process
            if {"clip_id", "images", "content_hash"} <= set(batch.schema.names):
                rows = batch.select(["clip_id", "images", "content_hash"]).to_pylist()
                changed += [row["clip_id"] for row in rows if content_hash(row["images"]) != row["content_hash"]]
    yield from findings
    if changed:
        problem = f"the images of {len(changed)} clips differ from those that were written, first {changed[0]}"
        yield Finding(path, problem, repair_hint(path))


def _check_columns(path: Path, actual: pa.Schema) -> Iterator[Finding]:
    """Compare the columns of a table with those that core/schemas.py and core/collected.py declare.

    Tables without a schema there, such as a run's curves, are not compared.
    """
    metadata = actual.metadata or {}
    name = metadata.get(b"kinetext_table", b"").decode()
    version = int(metadata.get(b"schema_version", SCHEMA_VERSION))
    if version > SCHEMA_VERSION:
        problem = f"was written by a later kinetext (schema {version}, not {SCHEMA_VERSION})"
        yield Finding(path, problem, "update this installation")
        return
    if name not in TABLES:
        return
    types = dict(zip(current_names(name, actual.names), actual.types, strict=True))
    for column in schema(name):
        if column.name not in types:
            if column.name not in ADDED.get(name, ()):
                yield Finding(path, f"is not a table `{name}`: column {column.name} is missing", repair_hint(path))
        elif types[column.name] != column.type and not (
            version < SCHEMA_VERSION and column.name in CONVERTED.get(name, {})  # read_table converts it
        ):
            problem = f"is not a table `{name}`: column {column.name} is {types[column.name]}, not {column.type}"
            yield Finding(path, problem, repair_hint(path))


def _check_weights(path: Path) -> Iterator[Finding]:
    from kinetext.core.tensors import hash_matches

    matches = hash_matches(path)
    if matches is None:
        yield Finding(path, "has no hash to verify: an earlier version wrote it")
    elif not matches:
        yield Finding(path, "differs from what was written: its tensors have another hash", repair_hint(path))


def _check_run(path: Path) -> Iterator[Finding]:
    """Report a run.yaml that was edited, metrics without predictions, and metrics of an earlier plan of the run."""
    spec = read_run(path)
    if fingerprint_of(load_yaml(path)) != spec.fingerprint:
        yield Finding(path, "was changed after kinetext wrote it: it has another fingerprint", repair_hint(path))
        return
    metrics, predictions = (path.with_name(f"{name}.parquet") for name in ("metrics", "predictions"))
    if metrics.is_file() and not predictions.is_file():
        yield missing(predictions)
    try:
        with open_table(metrics) as file:
            measured = set(file.read(columns=["fingerprint"])["fingerprint"].to_pylist())
    except (pa.ArrowException, OSError, KeyError, ValueError):  # not measured yet, or reported by the table's own check
        return
    if measured - {spec.fingerprint}:
        fingerprints = ", ".join(sorted(map(str, measured)))
        problem = f"belongs to an earlier plan of this run ({fingerprints}, now {spec.fingerprint})"
        yield Finding(metrics, problem, f"`snakemake {quote(str(metrics))}` measures it again")


def _check_shard_list(path: Path) -> Iterator[Finding]:
    """Compare frames.json with the shards.

    Unreadable shards are skipped here, because another check reports them.
    """
    from kinetext.data.images import frames_digest

    for name, digest in load_json(path)["shards"].items():
        shard = path.parent / f"{name}.arrow"
        if not shard.is_file():
            yield missing(shard, f"is missing, but {path} lists it")
            continue
        try:
            actual = frames_digest([shard])
        except Exception:
            continue
        if actual != digest:
            yield Finding(path, f"was written for other images than those in {shard}", repair_hint(path))


def _check_reply(path: Path) -> Iterator[Finding]:
    """Compare a cached reply with two hashes: the file name with its request, the stored digest with its content."""
    try:
        record = read_record(path)
        matches = request_hash(record["request"]) == path.stem
    except ValueError:
        matches = False
    if not matches:
        yield Finding(path, "is not a valid cached reply", "delete it to query the model again")
    elif record.get("digest", record_digest(record)) != record_digest(record):
        remedy = (
            "delete it to query the model again; to edit sentences, use `kinetext export-texts` and the provider file"
        )
        yield Finding(path, "was changed after it was stored: its content has another hash", remedy)


def _check_json(path: Path) -> Iterator[Finding]:
    load_json(path)
    yield from ()


def _check_yaml(path: Path) -> Iterator[Finding]:
    if not isinstance(load_yaml(path), dict):
        raise ValueError("it holds no mapping")
    yield from ()


def _check_arrays(path: Path) -> Iterator[Finding]:
    import numpy as np

    with np.load(path) as arrays:
        for name in arrays.files:
            arrays[name]  # reading verifies the checksum
    yield from ()


CHECKS: dict[str, Callable[[Path], Iterator[Finding]]] = {
    "run.yaml": _check_run,
    "clips.parquet": _check_clips,
    "frames.json": _check_shard_list,
    "replies/.json": _check_reply,
    ".parquet": _check_table,
    ".arrow": _check_shard,
    ".safetensors": _check_weights,
    ".json": _check_json,
    ".yaml": _check_yaml,
    ".npz": _check_arrays,
}
