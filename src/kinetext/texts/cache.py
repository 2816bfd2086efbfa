"""Raw replies of paid services, each kept under the hash of the request: nothing is ever asked, or paid, twice.

The folder is no declared output of the workflow, so a job that fails does not take its replies along. A reply is
written before anyone tries to understand it; understanding it again costs nothing. To ask again, delete the file.
"""

import hashlib
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def request_hash(request: dict[str, Any]) -> str:
    """SHA-256 of the request as canonical JSON. It must hold all that shapes the reply, and no secret."""
    canonical = json.dumps(request, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def reply_path(request: dict[str, Any], folder: Path) -> Path:
    """Where the reply to a request lies, or will lie."""
    return hash_path(request_hash(request), folder)


def hash_path(key: str, folder: Path) -> Path:
    """The same, where only the request's hash is known."""
    return folder / "replies" / f"{key}.json"


def has_reply(request: dict[str, Any], folder: Path) -> bool:
    """Whether the reply is there, also one that a killed process had written but not yet given its name."""
    path = reply_path(request, folder)
    if not path.exists() and _part(path).exists():
        with _lock(path, folder):
            if _is_whole(_part(path)):
                os.replace(_part(path), path)
    return path.exists()


def reply_to(request: dict[str, Any], folder: Path, ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The record of a request: {"request", "date" (ISO 8601, UTC), ...what `ask` returned}.

    `ask` is called only where there is no record; of several jobs that want the same one, one asks and the rest wait.
    What `ask` raises goes through and leaves no record. Raises ValueError where a reply cannot be written. Between the
    return of `ask` and the bytes being with the operating system, which a SIGKILL cannot take from it, there is one write
    to a file that is open already.
    """
    path = reply_path(request, folder)
    if path.exists():  # without the lock, so that a cache on a read-only disk can be used
        return read_record(path)
    part = _part(path)
    with _lock(path, folder):
        if path.exists():
            return read_record(path)
        if not _is_whole(part):
            asking = False
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with part.open("w", encoding="utf-8") as file:
                    asking = True
                    record = {"request": request, "date": None, **ask()}
                    asking = False
                    record["date"] = datetime.now(UTC).isoformat(timespec="seconds")
                    file.write(json.dumps(record, ensure_ascii=False))
            except BaseException as error:
                part.unlink(missing_ok=True)
                if isinstance(error, OSError) and not asking:  # every further reply would be paid for and lost, too
                    raise ValueError(
                        f"{part.parent}: a reply cannot be kept ({error}); make room and run again"
                    ) from None
                raise
        os.replace(part, path)
    return read_record(path)


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _lock(path: Path, folder: Path) -> Any:
    from filelock import FileLock

    lock = folder / "locks" / f"{path.stem}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(lock)


def _is_whole(path: Path) -> bool:
    try:
        read_record(path)
    except (ValueError, FileNotFoundError):
        return False
    return True


def read_record(path: Path) -> dict[str, Any]:
    """A record of the cache. Raises ValueError if it is not whole."""
    try:
        record = json.loads(path.read_text("utf-8"))
        if {"request", "date"} <= record.keys():
            return record
    except (ValueError, AttributeError):
        pass
    raise ValueError(f"{path}: is no cached reply; delete it, and the class will be asked for again")
