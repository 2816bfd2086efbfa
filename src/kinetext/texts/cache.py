"""Raw replies of paid services, each stored under the hash of its request, so that nothing is requested or paid twice.

The folder is not an output of the workflow, so a failed job does not delete its replies. A reply is stored before it is
parsed; parsing it again costs nothing. To query the model again, delete the file.
"""

import hashlib
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def request_hash(request: dict[str, Any]) -> str:
    """Return the SHA-256 of a request as canonical JSON.

    A request must hold everything that determines the reply, and no secret.
    """
    canonical = json.dumps(request, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def record_digest(record: dict[str, Any]) -> str:
    """Return a hash of a record without its field `digest`. With it `kinetext doctor` detects an edited reply."""
    return request_hash({key: value for key, value in record.items() if key != "digest"})


def reply_path(request: dict[str, Any], folder: Path) -> Path:
    """Return the file in which the reply to a request is cached."""
    return hash_path(request_hash(request), folder)


def hash_path(key: str, folder: Path) -> Path:
    """Return the file in which the reply to the request with this hash is cached."""
    return folder / "replies" / f"{key}.json"


def has_reply(request: dict[str, Any], folder: Path) -> bool:
    """Return whether a reply is stored.

    A complete file that a killed process had not yet renamed is renamed first.
    """
    path = reply_path(request, folder)
    if not path.exists() and _part(path).exists():
        with _lock(path, folder):
            if _is_complete(_part(path)):
                os.replace(_part(path), path)
    return path.exists()


def fetch_reply(request: dict[str, Any], folder: Path, send: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the record of a request: {"request", "date" (ISO 8601, UTC), ...what `send` returned, "digest"}.

    `send` is called only if there is no record. If several jobs have the same request, one sends it and the others
    wait. An exception of `send` is passed on and leaves no record. Raises ValueError if a reply cannot be stored. After
    `send` returns, one write to an open file hands the reply to the operating system, where SIGKILL cannot destroy it.
    """
    path = reply_path(request, folder)
    if path.exists():  # without the lock, so that a cache on a read-only disk can be used
        return read_record(path)
    part = _part(path)
    with _lock(path, folder):
        if path.exists():
            return read_record(path)
        if not _is_complete(part):
            sending = False
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with part.open("w", encoding="utf-8") as file:
                    sending = True
                    record = {"request": request, "date": None, **send()}
                    sending = False
                    record["date"] = datetime.now(UTC).isoformat(timespec="seconds")
                    record["digest"] = record_digest(record)
                    file.write(json.dumps(record, ensure_ascii=False))
            except BaseException as error:
                part.unlink(missing_ok=True)
                if isinstance(error, OSError) and not sending:  # every further reply would be paid for and lost too
                    raise ValueError(
                        f"{part.parent}: cannot store a reply ({error}); free some space and run again"
                    ) from None
                raise
        os.replace(part, path)
    return read_record(path)


def read_record(path: Path) -> dict[str, Any]:
    """Read the record of a cached reply. Raises ValueError if the file is not a complete record."""
    try:
        record = json.loads(path.read_text("utf-8"))
        if {"request", "date"} <= record.keys():
            return record
    except (ValueError, AttributeError):
        pass
    raise ValueError(f"{path}: not a valid cached reply; delete it to query the model again")


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _lock(path: Path, folder: Path) -> Any:
    from filelock import FileLock

    lock = folder / "locks" / f"{path.stem}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(lock)


def _is_complete(path: Path) -> bool:
    try:
        read_record(path)
    except (ValueError, FileNotFoundError):
        return False
    return True
