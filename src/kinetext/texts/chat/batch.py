"""Requests by OpenAI's Batch API: half the price, an answer within a day (developers.openai.com, guide "Batch").

A batch is written down in results/cache/batches before it is sent, with a name of its own that goes along as metadata.
A process that was killed at any moment is followed by one that finds the name: with the batch's id in the file, or by
asking the server for its batches, or at neither place, and only then is it sent. Answers wait at the server, so here
nothing that was paid for is lost with a process.
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

from kinetext.core.detached import pause
from kinetext.core.files import atomic_write
from kinetext.texts import cache
from kinetext.texts.chat.client import NoReplyError, Server, arguments, line, plain_errors

OVER = ("completed", "failed", "expired", "cancelled")
DAY_S = 86400


def collect(
    wanted: dict[str, dict[str, Any]], server: Server, folder: Path, wait_s: float, poll_s: float
) -> dict[str, str]:
    """Have requests (by hash) answered, the replies go into the cache; why the others have none, by hash.

    Joins a batch that was sent before, by this job or another, and sends what is in none. Raises ValueError if it takes
    longer than `wait_s` (run again to go on waiting) or if the server refuses the batch as a whole.
    """
    from filelock import FileLock

    (folder / "batches").mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "batches" / ".lock"):  # of two jobs the second finds the batch of the first
        wanted = {key: asked for key, asked in wanted.items() if not cache.has_reply(asked, folder)}
        notes = pending(wanted, server, folder)
        noted = {key for note in notes for key in note["requests"]}
        left = {key: asked for key, asked in wanted.items() if key not in noted}
        if left:
            notes.append(_write_intent(left, server, folder))
        for note in notes:
            if note["batch"] is None:
                _send(note, server, folder)
    until = time.monotonic() + wait_s
    failures: dict[str, str] = {}
    for note in notes:
        failures |= _take_in(_wait(note, server, until, wait_s, poll_s), note, server, folder)
    return failures


def pending(wanted: dict[str, dict[str, Any]], server: Server, folder: Path) -> list[dict[str, Any]]:
    """The notes of batches that were sent, or were to be sent, with any of these requests and have not been read yet."""
    notes = [json.loads(path.read_text("utf-8")) for path in sorted((folder / "batches").glob("*.json"))]
    notes = [note for note in notes if note["over"] is None and note["base_url"] == server.base_url]
    return [note for note in notes if wanted.keys() & note["requests"].keys()]


def note_path(note: dict[str, Any], folder: Path) -> Path:
    """Where a batch is written down."""
    return folder / "batches" / f"{note['name']}.json"


def _write_intent(wanted: dict[str, dict[str, Any]], server: Server, folder: Path) -> dict[str, Any]:
    note = {
        "name": f"kinetext-{uuid.uuid4().hex}",
        "created": int(time.time()),
        "base_url": server.base_url,
        "batch": None,
        "over": None,
        "failures": {},
        "requests": wanted,
    }
    _write(note, folder)
    return note


def _write(note: dict[str, Any], folder: Path) -> None:
    with atomic_write(note_path(note, folder)) as part:
        part.write_text(json.dumps(note, indent=1, ensure_ascii=False), "utf-8")


def _send(note: dict[str, Any], server: Server, folder: Path) -> None:
    """Send the batch unless the server has it already, and note its id."""
    import openai

    client = server.client()
    lines = [
        {"custom_id": key, "method": "POST", "url": "/v1/chat/completions", "body": arguments(asked, _mode(asked))}
        for key, asked in note["requests"].items()
    ]
    content = "".join(json.dumps(asked) + "\n" for asked in lines).encode()
    with _batch_errors(server):
        tries = 0
        while (batch := _find(note, client)) is None:
            try:
                sent = client.files.create(file=(f"{note['name']}.jsonl", content), purpose="batch")
                once = client.with_options(max_retries=0)  # a second try of the library's own could make a second batch
                batch = once.batches.create(
                    input_file_id=sent.id,
                    endpoint="/v1/chat/completions",
                    completion_window="24h",
                    metadata={"kinetext": note["name"]},
                )
                break
            except (openai.APIConnectionError, openai.InternalServerError, openai.RateLimitError):
                tries += 1  # it may have been made all the same: look again before the next try
                if tries > server.retries:
                    raise
                pause(min(0.5 * 2**tries, 8.0))
    note["batch"] = batch.id
    _write(note, folder)
    print(f"chat_api: batch {batch.id} of {len(lines)} requests is with {server.base_url}", file=sys.stderr)


def _find(note: dict[str, Any], client: Any) -> Any:
    for batch in client.batches.list(limit=100):  # the newest first
        if (batch.metadata or {}).get("kinetext") == note["name"]:
            return batch
        if batch.created_at < note["created"] - DAY_S:  # a day for clocks that differ
            return None
    return None


def _wait(note: dict[str, Any], server: Server, until: float, wait_s: float, poll_s: float) -> Any:
    while True:
        with _batch_errors(server):
            batch = server.client().batches.retrieve(note["batch"])
        if batch.status in OVER:
            return batch
        if time.monotonic() + poll_s > until:
            counts = batch.request_counts
            answered = f", {counts.completed} of {counts.total} answered" if counts else ""
            raise ValueError(
                f"chat_api: batch {batch.id} is {batch.status} after {wait_s:g} s of waiting (batch_wait_s){answered}; "
                "run again, now or days later, to fetch its answers: nothing is sent twice"
            )
        pause(poll_s)


def _take_in(batch: Any, note: dict[str, Any], server: Server, folder: Path) -> dict[str, str]:
    """Put a finished batch's replies into the cache and close its note; why requests have none, by hash."""
    if batch.status == "failed":  # none of it was run
        messages = [error.message or error.code for error in (batch.errors.data if batch.errors else None) or []]
        note["over"] = batch.status
        _write(note, folder)
        why = line(server.without_key("; ".join(map(str, messages)))) or "no reason given"
        raise ValueError(f"chat_api: {server.base_url} refuses batch {batch.id}: {why}; the next run sends a new one")
    why = f"batch {batch.id} is {batch.status} without an answer; run again to ask in a new one"
    failures: dict[str, str] = dict.fromkeys(note["requests"], why)
    for answer in _lines(batch, server):
        key, response = str(answer.get("custom_id")), answer.get("response") or {}
        asked, body = note["requests"].get(key), response.get("body")
        if asked is None:
            continue
        if response.get("status_code") == 200 and isinstance(body, dict):
            raw = server.without_key(json.dumps(body, ensure_ascii=False))
            cache.reply_to(asked, folder, partial(dict, mode=_mode(asked), reply=raw, batch=batch.id))
            failures.pop(key, None)
        else:
            error = answer.get("error") or (body.get("error") if isinstance(body, dict) else None) or body
            message = error.get("message", error) if isinstance(error, dict) else error
            failures[key] = f"batch {batch.id}: {line(server.without_key(str(message)))}"
    note |= {"over": batch.status, "failures": failures}
    _write(note, folder)
    return failures


def _lines(batch: Any, server: Server) -> Iterator[dict[str, Any]]:
    for file in (batch.output_file_id, batch.error_file_id):
        if file:
            with _batch_errors(server):
                text = server.client().files.content(file).text
            for raw in text.split("\n"):  # splitlines would also split at signs that JSON allows inside a sentence
                try:
                    answer = json.loads(raw)
                except ValueError:
                    continue
                if isinstance(answer, dict):
                    yield answer


def _mode(asked: dict[str, Any]) -> str:
    return "json_schema" if asked["schema"] else "text"


@contextmanager
def _batch_errors(server: Server) -> Iterator[None]:
    """Without the batch nothing can be done, so every error stops the run; running again finds the batch."""
    import openai

    try:
        with plain_errors(server, "batch"):
            try:
                yield
            except openai.NotFoundError as error:
                raise ValueError(
                    f"chat_api: {server.base_url} has no Batch API (set batch: false), or does not know the batch with "
                    f"the key in {server.key_env} (use that which it was sent with): {line(server.without_key(str(error)))}"
                ) from None
    except NoReplyError as error:
        raise ValueError(f"chat_api: batch: {error}; run again, nothing is sent twice") from None
