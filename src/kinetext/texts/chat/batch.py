"""Requests through OpenAI's Batch API: half the price, answers within a day (developers.openai.com, guide "Batch").

A batch is recorded in results/cache/batches before it is sent, under a unique name that is sent along as metadata. If
the process is killed, the next one looks for the batch: first by the id in the record, then by the name in the server's
list of batches. It sends the batch only if both are missing. Answers wait at the server, so no paid answer is lost with
a process.
"""

import json
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from kinetext.core import detached
from kinetext.core.files import atomic_write
from kinetext.texts import cache
from kinetext.texts.chat.client import Server, translated_errors
from kinetext.texts.chat.completion import one_line, read_completion
from kinetext.texts.chat.limits import NoReplyError
from kinetext.texts.chat.negotiation import Form, request_body

FINAL_STATES = ("completed", "failed", "expired", "cancelled")
DAY_S = 86400


def fetch_replies(
    requests: dict[str, dict[str, Any]], server: Server, folder: Path, wait_s: float, poll_s: float
) -> dict[str, str]:
    """Fetch the replies to requests (hash -> request) into the cache; return hash -> reason for those that failed.

    Waits for batches that this or another job has already sent, and sends all other requests in a new batch. Raises
    ValueError if this takes longer than `wait_s` (run again to continue waiting) or if the server refuses the batch.
    """
    from filelock import FileLock

    (folder / "batches").mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "batches" / ".lock"):  # of two jobs the second finds the batch of the first
        requests = {key: request for key, request in requests.items() if not cache.has_reply(request, folder)}
        records = open_batches(requests, server, folder)
        in_batches = {key for record in records for key in record["requests"]}
        unsent = {key: request for key, request in requests.items() if key not in in_batches}
        if unsent:
            records.append(_record_batch(unsent, server, folder))
        for record in records:
            if record["batch"] is None:
                _send(record, server, folder)
    deadline = time.monotonic() + wait_s
    failures: dict[str, str] = {}
    for record in records:
        failures |= _store_replies(_wait(record, server, deadline, wait_s, poll_s), record, server, folder)
    return failures


def open_batches(requests: dict[str, dict[str, Any]], server: Server, folder: Path) -> list[dict[str, Any]]:
    """Return the records of batches that contain any of these requests and whose answers have not been fetched.

    A batch may be recorded without having been sent.
    """
    records = [json.loads(path.read_text("utf-8")) for path in sorted((folder / "batches").glob("*.json"))]
    records = [record for record in records if record["over"] is None and record["base_url"] == server.base_url]
    return [record for record in records if requests.keys() & record["requests"].keys()]


def record_path(record: dict[str, Any], folder: Path) -> Path:
    """Return the file of a batch's record."""
    return folder / "batches" / f"{record['name']}.json"


def _record_batch(requests: dict[str, dict[str, Any]], server: Server, folder: Path) -> dict[str, Any]:
    record = {
        "name": f"kinetext-{uuid.uuid4().hex}",
        "created": int(time.time()),
        "base_url": server.base_url,
        "batch": None,  # its id, once sent
        "over": None,  # its final state, once read
        "failures": {},
        "requests": requests,
    }
    _write(record, folder)
    return record


def _write(record: dict[str, Any], folder: Path) -> None:
    with atomic_write(record_path(record, folder)) as part:
        part.write_text(json.dumps(record, indent=1, ensure_ascii=False), "utf-8")


def _send(record: dict[str, Any], server: Server, folder: Path) -> None:
    """Send the batch unless the server already has it, and record its id."""
    import openai

    client = server.client()
    lines = [
        {
            "custom_id": key,
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": request_body(request, Form(_mode(request), True)),
        }
        for key, request in record["requests"].items()
    ]
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    with _batch_errors(server):
        tries = 0
        while (batch := _find(record, client)) is None:
            try:
                file = client.files.create(file=(f"{record['name']}.jsonl", content), purpose="batch")
                once = client.with_options(max_retries=0)  # a retry of the library could create a second batch
                batch = once.batches.create(
                    input_file_id=file.id,
                    endpoint="/v1/chat/completions",
                    completion_window="24h",
                    metadata={"kinetext": record["name"]},
                )
                break
            except (openai.APIConnectionError, openai.InternalServerError, openai.RateLimitError):
                tries += 1  # the batch may exist all the same: look again before the next try
                if tries > server.retries:
                    raise
                detached.sleep(min(0.5 * 2**tries, 8.0))
    record["batch"] = batch.id
    _write(record, folder)
    print(f"chat_api: sent batch {batch.id} of {len(lines)} requests to {server.base_url}", file=sys.stderr)


def _find(record: dict[str, Any], client: Any) -> Any:
    for batch in client.batches.list(limit=100):  # the newest first
        if (batch.metadata or {}).get("kinetext") == record["name"]:
            return batch
        if batch.created_at < record["created"] - DAY_S:  # a day of tolerance for clocks that differ
            return None
    return None


def _wait(record: dict[str, Any], server: Server, deadline: float, wait_s: float, poll_s: float) -> Any:
    while True:
        with _batch_errors(server):
            batch = server.client().batches.retrieve(record["batch"])
        if batch.status in FINAL_STATES:
            return batch
        if time.monotonic() + poll_s > deadline:
            counts = batch.request_counts
            answered = f", {counts.completed} of {counts.total} answered" if counts else ""
            raise ValueError(
                f"chat_api: batch {batch.id} is {batch.status} after {wait_s:g} s of waiting (batch_wait_s){answered}; "
                "run again, now or days later, to fetch its answers: nothing is sent twice"
            )
        detached.sleep(poll_s)


def _store_replies(batch: Any, record: dict[str, Any], server: Server, folder: Path) -> dict[str, str]:
    """Store the replies of a finished batch in the cache and close its record.

    Returns hash -> reason for requests without a reply. Raises ValueError if the server refused the batch.
    """
    if batch.status == "failed":  # no request of it was run
        messages = [error.message or error.code for error in (batch.errors.data if batch.errors else None) or []]
        record["over"] = batch.status
        _write(record, folder)
        reason = one_line(server.redact("; ".join(map(str, messages)))) or "no reason given"
        raise ValueError(
            f"chat_api: {server.base_url} refuses batch {batch.id}: {reason}; the next run sends a new one"
        )
    no_answer = f"batch {batch.id} is {batch.status} without an answer; run again to send the request in a new one"
    failures: dict[str, str] = dict.fromkeys(record["requests"], no_answer)
    for line in _lines(batch, server):
        key, response = str(line.get("custom_id")), line.get("response") or {}
        request, body = record["requests"].get(key), response.get("body")
        if request is None:
            continue
        if response.get("status_code") == 200:
            reply = server.redact(json.dumps(body, ensure_ascii=False))
            try:
                read_completion(reply)
            except ValueError as error:
                failures[key] = f"batch {batch.id}: {error}"
                continue
            cache.fetch_reply(request, folder, partial(dict, mode=_mode(request), reply=reply, batch=batch.id))
            failures.pop(key, None)
        else:
            problem = line.get("error") or (body.get("error") if isinstance(body, dict) else None) or body
            message = problem.get("message", problem) if isinstance(problem, dict) else problem
            failures[key] = f"batch {batch.id}: {one_line(server.redact(str(message)))}"
    record |= {"over": batch.status, "failures": failures}
    _write(record, folder)
    return failures


def _lines(batch: Any, server: Server) -> Iterator[dict[str, Any]]:
    for file in (batch.output_file_id, batch.error_file_id):
        if file:
            with _batch_errors(server):
                text = server.client().files.content(file).text
            for raw in text.split("\n"):  # splitlines would also split at characters that JSON allows inside a string
                try:
                    line = json.loads(raw)
                except ValueError:
                    continue
                if isinstance(line, dict):
                    yield line


def _mode(request: dict[str, Any]) -> str:
    return "json_schema" if request["schema"] else "text"


@contextmanager
def _batch_errors(server: Server) -> Iterator[None]:
    """Translate every error of a request about a batch into ValueError, which ends the run.

    The next run finds the batch again.
    """
    import openai

    try:
        with translated_errors(server, "batch"):
            try:
                yield
            except openai.NotFoundError as error:
                raise ValueError(
                    f"chat_api: {server.base_url} has no Batch API (set batch: false), or does not know the batch "
                    f"under the key in {server.key_env} (use the key that sent it): "
                    f"{one_line(server.redact(str(error)))}"
                ) from None
    except NoReplyError as error:
        raise ValueError(f"chat_api: batch: {error}; run again, nothing is sent twice") from None
