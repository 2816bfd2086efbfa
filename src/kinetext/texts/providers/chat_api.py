"""Descriptions by a language model, over the chat-completions API of OpenAI or of any server that speaks it (vLLM,
Ollama, ...). After MoTED (CVPR 2024), which asked GPT-4; the wording is ours (texts/prompts.py).

One request per class, with its rivals; a row's `rival` holds them all, separated by " | ". Every raw reply is kept
under the hash of its request before it is parsed (texts/cache.py), so a table that was made once is made again without
a key, a network or a cent. The key is read from the environment when a request is sent, and goes nowhere else.

A kill (SIGKILL) costs no answer: a reply that was written is never asked for again, and those on their way are written by a
process that outlives the one that is killed (outlive.py), as soon as they have arrived whole, before they are parsed. Only what
kills both, such as a power cut, costs up to `max_in_flight` of them. With `batch` replies wait at the server.
"""

import sys
from functools import partial
from pathlib import Path
from threading import Lock, Semaphore
from typing import Any

from kinetext.core.detached import on_its_way
from kinetext.texts import cache, prompts
from kinetext.texts.chat import batch, client, limits
from kinetext.texts.chat.options import Config
from kinetext.texts.providers import Context, Text

__all__ = ["Config", "describe", "prepare", "repair", "request"]

PAID = True  # its answers cost money: `kinetext describe-classes` sees to it that they outlive it


class _Table:
    """What the requests of one table share."""

    def __init__(self, config: Config, asked: dict[str, list[str]]):
        self.ledger = limits.Ledger(config.prices, config.max_usd)
        self.pace = limits.Pace(config.requests_per_minute, config.tokens_per_minute)
        self.in_flight = Semaphore(config.max_in_flight)
        self.failures: dict[str, str] = {}  # of a batch, by hash of the request
        self.to_tell = set(asked)


_tables: dict[tuple[Config, Path], _Table] = {}
_lock = Lock()


def prepare(asked: dict[str, list[str]], config: Config, context: Context) -> None:
    """Say on stderr what the classes (with their rivals) will cost, before anything is sent; with `batch`, have them
    answered.

    Raises ValueError if that is more than `max_usd`, if there is no key for what is not cached, if a batch is not done
    within `batch_wait_s`, or if replies that are wanted are in a batch that was sent before and `batch` is off.
    """
    table = _Table(config, asked)
    with _lock:
        _tables[config, context.cache] = table
    wanted: dict[str, dict[str, Any]] = {}
    expected = limits.Tokens(0, 0)
    for label, rivals in asked.items():
        sent = request(label, rivals, config)
        path = cache.reply_path(sent, context.cache)
        if cache.has_reply(sent, context.cache):
            _count(path.stem, sent, cache.read_record(path), table, config)
        elif path.stem not in wanted:
            wanted[path.stem] = sent
            expected += _estimate(sent, config)
    _tell_costs(len(asked), len(wanted), expected, table, config)
    if not wanted:
        return
    config.server.key()
    if config.batch:
        table.failures = batch.collect(wanted, config.server, context.cache, config.batch_wait_s, config.batch_poll_s)
        return
    for note in batch.pending(wanted, config.server, context.cache):
        raise ValueError(
            f"chat_api: batch: {len(wanted.keys() & note['requests'].keys())} of these requests are in batch {note['batch']}; "
            f"set batch: true to fetch its answers, or delete {batch.note_path(note, context.cache)} to ask again"
        )


def describe(label: str, rivals: list[str], config: Config, context: Context) -> list[Text]:
    """Start, end and `sentences` whole-motion sentences about a class, or one row with status `failed: ...`.

    Raises ValueError where every class would fail: no key and no cached reply, key refused, no such model, no server.
    """
    table = _table(config, context)
    texts = _told(label, " | ".join(rivals) or None, request(label, rivals, config), config, context)
    if label in table.to_tell:
        table.to_tell.discard(label)
        if not table.to_tell:
            taken = table.ledger.tokens
            usd = f", {table.ledger.spent_usd:.4g} USD" if config.prices else ""
            _say(f"the table's replies took {taken.put_in} tokens in and {taken.out} out{usd}, cached ones included")
    return texts


def repair(label: str, rivals: list[str], texts: list[Text], config: Config, context: Context) -> list[Text]:
    """Ask once more about a class, in the same conversation, with the faults that the rows' statuses name.

    The new rows; the same rows where there is nothing to repair, or where the new answer cannot be read and the old one
    could. Raises NoReplyError if there was no reply, which may be for the cap, and ValueError as `describe`.
    """
    of_reply = [text for text in texts if text.request_hash and text.kind == config.about]
    if not of_reply or all(text.status == "ok" for text in of_reply):
        return texts
    record = cache.read_record(cache.hash_path(str(of_reply[0].request_hash), context.cache))
    answer = client.said(record["reply"]) or "(no answer)"
    asked = dict(record["request"])
    asked["messages"] = prompts.correction(asked["messages"], answer, _faults(of_reply, record, config))
    asked["prompt_version"] = f"{prompts.VERSIONS[config.about]}+{prompts.VERSIONS['correction']}"
    mended = _told(label, of_reply[0].rival, asked, config, context)
    readable = any(not text.status.startswith("failed") for text in of_reply)
    if not cache.reply_path(asked, context.cache).exists():
        raise client.NoReplyError(mended[0].status)
    if readable and mended[0].status.startswith("failed"):
        return texts
    return [text for text in texts if text not in of_reply] + mended


def request(label: str, rivals: list[str], config: Config) -> dict[str, Any]:
    """All that shapes the reply. Its hash is the reply's name in the cache."""
    return {
        "base_url": config.server.base_url,
        "model": config.model,
        "temperature": config.temperature,
        "messages": prompts.messages(label, rivals, config.sentences, config.about),
        "schema": prompts.ANSWER_SCHEMAS[config.about] if config.structured else None,
        "prompt_version": prompts.VERSIONS[config.about],
    }


def _told(label: str, rival: str | None, asked: dict[str, Any], config: Config, context: Context) -> list[Text]:
    """The rows of one request."""
    about: dict[str, Any] = {
        "rival": rival,
        "kind": config.about,
        "source": asked["base_url"],
        "prompt_version": asked["prompt_version"],
        "request_hash": cache.request_hash(asked),
    }
    table = _table(config, context)
    try:
        record = cache.reply_to(asked, context.cache, partial(_ask, asked, table, config))
    except (client.NoReplyError, limits.CapError) as error:
        return [Text(label, "", status=f"failed: {error}", **about)]
    _count(about["request_hash"], asked, record, table, config)
    about["date"] = record["date"]
    try:
        about["model"], content = client.read_reply(record["reply"])
        answer = prompts.parse_answer(content, config.about)
    except ValueError as error:
        path = cache.reply_path(asked, context.cache)
        return [Text(label, "", status=f"failed: {error}; to ask again, delete {path}", **about)]
    whole = answer.pop("whole")
    phases = [*answer.items(), *(("whole", sentence) for sentence in whole)]
    return [Text(label, sentence, phase=phase, **about) for phase, sentence in phases]


def _ask(asked: dict[str, Any], table: _Table, config: Config) -> dict[str, str]:
    key = cache.request_hash(asked)
    if config.batch and len(asked["messages"]) == 1:  # a correction is sent by itself, at full price
        raise client.NoReplyError(table.failures.get(key, "it is in no batch"))
    expected = _estimate(asked, config)
    with table.in_flight, table.ledger.hold(expected):
        table.pace.wait(expected)
        with on_its_way():
            record = client.ask(config.server, asked)
        _count(key, asked, record, table, config)
    return record


def _count(key: str, asked: dict[str, Any], record: dict[str, Any], table: _Table, config: Config) -> None:
    taken = client.usage(record["reply"]) or _estimate(asked, config)
    table.ledger.count(key, taken, limits.BATCH_SHARE if "batch" in record else 1.0)


def _estimate(asked: dict[str, Any], config: Config) -> limits.Tokens:
    return limits.estimate(asked, config.sentences + (2 if config.about == "motion" else 0))


def _table(config: Config, context: Context) -> _Table:
    with _lock:
        return _tables.setdefault((config, context.cache), _Table(config, {}))


def _faults(texts: list[Text], record: dict[str, Any], config: Config) -> list[str]:
    """What is wrong with a reply, a line each; without the paths and hints that a status has for the user."""
    try:
        prompts.parse_answer(client.read_reply(record["reply"])[1], config.about)
    except ValueError as error:
        return [str(error)]
    return [
        f'{text.phase}, "{text.sentence}": {text.status}' if text.sentence else f"{text.phase}: {text.status}"
        for text in texts
        if text.status != "ok"
    ]


def _tell_costs(classes: int, wanted: int, expected: limits.Tokens, table: _Table, config: Config) -> None:
    """Say the estimate. Raises ValueError if it is above the cap."""
    if not wanted:
        _say(f"all {classes} classes have cached replies; nothing is sent")
        return
    text = f"{wanted} of {classes} classes to ask {config.server.base_url} for, {classes - wanted} cached; about "
    text += f"{expected.put_in} tokens in and {expected.out} out, estimated from characters; "
    if config.prices is None:
        _say(text + "the price is not known here (price_in, price_out)")
        return
    usd = config.prices.cost(expected) * (limits.BATCH_SHARE if config.batch else 1.0)
    spent = table.ledger.spent_usd
    _say(f"{text}about {usd:.4g} USD{' in a batch' if config.batch else ''}, {spent:.4g} USD paid before")
    if config.max_usd is not None and spent + usd > config.max_usd:
        raise ValueError(
            f"chat_api: max_usd: the table would cost about {spent + usd:.4g} USD ({spent:.4g} of it paid before), the cap is "
            f"{config.max_usd:g}; nothing was sent; raise max_usd, or take a cheaper model, fewer sentences or batch: true"
        )


def _say(text: str) -> None:
    print(f"chat_api: {text}", file=sys.stderr)
