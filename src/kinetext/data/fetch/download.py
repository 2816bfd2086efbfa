"""Download a file so that an interrupted download resumes and a wrong file is never accepted.

Bytes are written to `{name}.part`. The next attempt requests only the rest (HTTP range requests, RFC 9110, 14). If no
checksum is known, the rest is requested only together with the validator (ETag) of the first part, so that two versions
of a file are never joined.
"""

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from kinetext.data.fetch.sources import File, size
from kinetext.data.lists import sha256

CHUNK = 2**20  # bytes
BUSY = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server, and how often to try again."""

    timeout_s: float = 60.0
    tries: int = 6  # in a row without a new byte
    wait_s: float = 1.0  # before the second try; doubled before each further one


PATIENCE = Patience()


class _CutError(Exception):
    """The connection ended early, or the server is busy. Another attempt may succeed."""


def download(file: File, path: Path, patience: Patience = PATIENCE) -> str:
    """Download a file to `path` unless it exists, check it, and return its SHA-256.

    Raises ValueError if the server refuses or if the file does not match its known size or checksums. A wrong file that
    was just downloaded is deleted.
    """
    if not path.exists():
        part = path.with_name(f"{path.name}.part")
        part.parent.mkdir(parents=True, exist_ok=True)
        _fetch_all(file, part, patience)
        _check(file, part, delete=True)
        part.rename(path)
        _validator(part).unlink(missing_ok=True)
        return sha256(path)
    return _check(file, path, delete=False)


def _fetch_all(file: File, part: Path, patience: Patience) -> None:
    """Append to `part` until it is complete. Raises ValueError if the server refuses or after too many attempts."""
    failures, wait_s = 0, patience.wait_s
    with tqdm(total=file.bytes, desc=file.name, unit="B", unit_scale=True, disable=None, leave=False) as bar:
        while True:
            before = _length(part)
            try:
                return _fetch_rest(file, part, patience.timeout_s, bar)
            except (_CutError, OSError, http.client.HTTPException) as error:
                if isinstance(error, OSError) and not isinstance(
                    error, urllib.error.URLError | ConnectionError | TimeoutError
                ):
                    raise  # a full disk is not a matter of patience
                failures = 0 if _length(part) > before else failures + 1
                if failures >= patience.tries:
                    reason = getattr(error, "reason", None) or error
                    raise ValueError(
                        f"{file.url}: {reason} ({failures} times without a new byte). Run again to resume at "
                        f"{size(_length(part))}, or put a copy of the file at {part.with_suffix('')}"
                    ) from None
            wait_s = patience.wait_s * 2 ** max(failures - 1, 0)
            time.sleep(min(wait_s, 60.0))


def _fetch_rest(file: File, part: Path, timeout_s: float, bar: Any) -> None:
    """Request the bytes that `part` lacks and append them.

    Raises _CutError if they end early or the server is busy, and ValueError if the server refuses.
    """
    start = _length(part)
    validator = _validator(part).read_text() if _validator(part).exists() else None
    if start and not (validator or file.sha256 or file.git_sha1):
        part.unlink()  # nothing proves that the rest would belong to it
        start = 0
    headers = {"User-Agent": "kinetext", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if validator:
            headers["If-Range"] = validator
    try:
        response = urllib.request.urlopen(urllib.request.Request(file.url, headers=headers), timeout=timeout_s)
    except urllib.error.HTTPError as error:
        with error:
            return _refused(file, part, error)
    with response:
        if response.status == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            part.unlink(missing_ok=True)
            raise _CutError(f"the server sent another range ({response.headers.get('Content-Range')})")
        if response.status != 206:
            start = 0  # a server without ranges, or with another version of the file, sends everything
        total = _total(file, response, start)
        _keep_validator(part, response)
        with part.open("ab" if start else "wb") as output:
            bar.n = start
            while chunk := response.read(CHUNK):
                output.write(chunk)
                bar.update(len(chunk))
                start += len(chunk)
                if total is not None and start > total:
                    raise ValueError(f"{file.url}: sends more than the {total} bytes that it announced; run again")
    if total is not None and start < total:
        raise _CutError(f"the connection ended after {start} of {total} bytes")


def _refused(file: File, part: Path, error: urllib.error.HTTPError) -> None:
    """Handle an HTTP error.

    Return if `part` is complete. Otherwise raise _CutError if another attempt may help, and ValueError if not.
    """
    if error.code == 416:  # the range begins at or after the end
        if error.headers.get("Content-Range", "").rpartition("/")[2] == str(_length(part)):
            return
        part.unlink(missing_ok=True)
        raise _CutError("the part did not belong to this file; starting again")
    if error.code in BUSY:
        raise _CutError(f"HTTP {error.code} {error.reason}")
    hint = "the file was moved or needs an account" if error.code in (401, 403, 404, 410) else "the server refuses"
    raise ValueError(
        f"{file.url}: HTTP {error.code} {error.reason}: {hint}. If you have a copy, put it at {part.with_suffix('')} "
        "and run again"
    )


def _total(file: File, response: Any, start: int) -> int | None:
    """Return the size of the whole file in bytes; None if it is unknown.

    Raises ValueError if it differs from the known size, or if the reply is a web page.
    """
    if response.headers.get_content_type() == "text/html" and not file.name.endswith((".html", ".htm")):
        raise ValueError(f"{file.url}: is a web page, not {file.name}; look at it in a browser")
    length = response.headers.get("Content-Length")
    total = start + int(length) if length is not None else None
    if total is not None and file.bytes is not None and total != file.bytes:
        raise ValueError(f"{file.url}: has {total} bytes, not the {file.bytes} of the pinned file; it was changed")
    return total if total is not None else file.bytes


def _keep_validator(part: Path, response: Any) -> None:
    """Store the strong validator (ETag) of a reply beside the part."""
    tag = response.headers.get("ETag", "")
    if tag.startswith('"'):
        _validator(part).write_text(tag)
    elif response.status == 200:
        _validator(part).unlink(missing_ok=True)


def _check(file: File, path: Path, delete: bool) -> str:
    """Return the SHA-256 of a file. Raises ValueError if its size or hash is wrong; with `delete`, deletes it then."""
    digest = sha256(path)
    for name, pinned, actual in (
        ("bytes", file.bytes, path.stat().st_size),
        ("sha256", file.sha256, digest),
        ("git sha1", file.git_sha1, file.git_sha1 and _git_sha1(path)),
    ):
        if pinned is not None and pinned != actual:
            if delete:
                path.unlink()
                _validator(path).unlink(missing_ok=True)
            kept = "was deleted; run again" if delete else f"({path}) is not the pinned file; remove it"
            raise ValueError(
                f"{file.url}: {name} {actual}, pinned {pinned}: the file was changed on its way; it {kept}"
            )
    return digest


def _git_sha1(path: Path) -> str:
    """Return the SHA-1 that git computes for the content of a file."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _length(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _validator(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")
