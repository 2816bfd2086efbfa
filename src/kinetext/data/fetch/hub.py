"""List the files of a Hugging Face data set at a commit, with the checksums that the server states.

The HTTP API (huggingface.co/docs/hub/api): `/api/datasets/{id}/revision/main` returns the newest commit,
`/api/datasets/{id}/tree/{commit}?recursive=true` lists the files page by page. A large file has a SHA-256 (LFS), a
small one a git hash (SHA-1).
"""

import json
import re
import urllib.error
import urllib.request
from fnmatch import fnmatch
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from kinetext.data.fetch.sources import File, Repository

MAX_BYTES = 64 * 2**20  # of a page of the listing; one has a few hundred kB


def newest_commit(repository: Repository, timeout_s: float = 60.0) -> str:
    """Return the newest commit of the branch main. Raises ValueError if the server does not state it."""
    reply, _ = _read_json(f"{_api(repository)}/revision/main", timeout_s)
    commit = reply.get("sha") if isinstance(reply, dict) else None
    if not re.fullmatch("[0-9a-f]{40}", str(commit)):
        raise ValueError(f"{repository.address}: names no commit of main; look at the page in a browser")
    return str(commit)


def list_files(repository: Repository, commit: str, timeout_s: float = 60.0) -> list[File]:
    """Return the files at a commit that match the repository's patterns. Raises ValueError if no file matches."""
    files: list[File] = []
    url: str | None = f"{_api(repository)}/tree/{commit}?recursive=true"
    while url:
        entries, url = _read_json(url, timeout_s)
        for entry in entries:
            path = str(entry.get("path", ""))
            if entry.get("type") == "file" and any(fnmatch(path, pattern) for pattern in repository.files):
                files.append(_file(repository, commit, path, entry))
    if not files:
        raise ValueError(f"{repository.address}: has no {' or '.join(repository.files)} at commit {commit}")
    return files


def _file(repository: Repository, commit: str, path: str, entry: dict[str, Any]) -> File:
    if ".." in path.split("/") or path.startswith("/") or "\\" in path:
        raise ValueError(f"{repository.address}: lists '{path}', which leads out of the folder; nothing was fetched")
    large = entry.get("lfs") or {}
    return File(
        url=f"{repository.address}/resolve/{commit}/{quote(path)}",
        into="videos",
        sha256=large.get("oid"),
        git_sha1=None if large else entry.get("oid"),
        bytes=large.get("size") or entry.get("size") or None,
        path=path,
    )


def _api(repository: Repository) -> str:
    address = urlsplit(repository.address)
    return f"{address.scheme}://{address.netloc}/api{address.path}"


def _read_json(url: str, timeout_s: float) -> tuple[Any, str | None]:
    """Return the JSON value at an address, and the address of the next page or None.

    Raises ValueError, with the address, if it cannot be read.
    """
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers={"User-Agent": "kinetext"}), timeout=timeout_s
        ) as reply:
            value = json.loads(reply.read(MAX_BYTES))
            following = re.search(r'<([^>]+)>;\s*rel="next"', reply.headers.get("Link", ""))
    except (OSError, ValueError) as error:
        raise ValueError(f"{url}: {getattr(error, 'reason', None) or error}; run again") from None
    return value, urljoin(url, following[1]) if following else None
