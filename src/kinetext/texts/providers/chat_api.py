"""Descriptions by a language model, through the chat-completions API of OpenAI or of any compatible server (vLLM,
Ollama, ...). After MoTED (CVPR 2024), which used GPT-4; the prompts are ours (texts/prompts.py).

One request per class is sent, which names its rivals; the column `rival` holds them all, separated by " | ". Every raw
reply is stored under the hash of its request before it is parsed (texts/cache.py). Making the same table again
therefore costs nothing and needs neither key nor network. The key is read from the environment when a request is sent;
it is never stored or logged.

SIGKILL loses no paid answer: stored replies are never requested again, and a process that survives the killed one
finishes the open requests (core/detached.py). An event that ends both processes, such as a power cut, loses up to
`max_in_flight` answers. With `batch`, replies wait at the server.
"""

import sys
from functools import partial
from threading import Lock
from typing import Any

from kinetext.core.positions import part_name
from kinetext.texts import answers, cache, prompts
from kinetext.texts.chat import batch, limits
from kinetext.texts.chat.completion import read_completion
from kinetext.texts.chat.model import ChatModel
from kinetext.texts.chat.options import ChatOptions
from kinetext.texts.providers.base import Context, Provider, Text


class ChatApi(Provider):
    """Descriptions by a language model on a chat-completions server."""

    Config = ChatOptions

    def __init__(self, config: ChatOptions):
        super().__init__(config)
        self.chat = ChatModel(config)
        self.batch_failures: dict[str, str] = {}  # hash of the request -> reason
        self._undescribed: set[str] = set()
        self._lock = Lock()

    @property
    def paid(self) -> bool:
        """True, because every answer may cost money."""
        return True

    @property
    def at_once(self) -> int:
        """`max_in_flight` + 2, so that the next request is sent while an answer is being parsed."""
        return self.config.max_in_flight + 2

    @property
    def max_repairs(self) -> int:
        """How many corrections are requested per class."""
        return self.config.max_repairs

    @property
    def sentences(self) -> int:
        """How many sentences about the whole movement are requested."""
        return self.config.sentences

    @property
    def steps(self) -> int:
        """How many sentences about moments between start and end are requested."""
        return self.config.steps

    def prepare(self, rivals: dict[str, list[str]], context: Context) -> None:
        """Print the estimated cost on stderr before anything is sent; with `batch`, fetch all answers.

        Raises ValueError if the estimate exceeds `max_usd`, if there is no key and a reply is not cached, if a batch is
        not done within `batch_wait_s`, or if requests are in an open batch while `batch` is off.
        """
        self._undescribed = set(rivals)
        missing: dict[str, dict[str, Any]] = {}
        expected = limits.Tokens(0, 0)
        for label in rivals:
            request = self.request(label, rivals[label])
            key = cache.request_hash(request)
            if cache.has_reply(request, context.cache):
                self._count(request, cache.read_record(cache.hash_path(key, context.cache)))
            elif key not in missing:
                missing[key] = request
                expected += self._estimate(request)
        self._report_cost(len(rivals), len(missing), expected)
        if not missing:
            return
        server = self.config.server
        server.key()
        if self.config.batch:
            wait_s, poll_s = self.config.batch_wait_s, self.config.batch_poll_s
            self.batch_failures = batch.fetch_replies(missing, server, context.cache, wait_s, poll_s)
            return
        for record in batch.open_batches(missing, server, context.cache):
            raise ValueError(
                f"chat_api: batch: {len(missing.keys() & record['requests'].keys())} of these requests are in batch "
                f"{record['batch']}; set batch: true to fetch its answers, or delete "
                f"{batch.record_path(record, context.cache)} to send them again"
            )

    def describe(self, label: str, rivals: list[str], context: Context) -> list[Text]:
        """Return start, `steps`, end and `sentences` whole sentences of a class, or one row with status `failed: ...`.

        With `about: appearance` as many sentences are about looks, at the same positions. Raises ValueError if every class would fail: no key and
        no cached reply, key refused, no such model, or no server.
        """
        texts = self._texts(label, " | ".join(rivals) or None, self.request(label, rivals), context)
        with self._lock:
            is_last = self._undescribed == {label}
            self._undescribed.discard(label)
        if is_last:
            tokens = self.chat.ledger.tokens
            usd = f", {self.chat.ledger.spent_usd:.4g} USD" if self.config.prices else ""
            counts = f"{tokens.prompt} tokens in and {tokens.completion} out"
            _print(f"the table's replies took {counts}{usd}, including cached ones")
        return texts

    def repair(self, label: str, rivals: list[str], texts: list[Text], context: Context) -> list[Text]:
        """Request a correction in the same conversation; return the new rows of the class.

        The request names the faults. Returns the old rows if nothing is wrong, or if the old answer was readable and
        the new one is not. Raises NoReplyError if no reply came or the cost cap was reached, and ValueError like
        `describe`.
        """
        config = self.config
        of_reply = [text for text in texts if text.request_hash and text.kind == config.about]
        if not of_reply or all(text.status == "ok" for text in of_reply):
            return texts
        record = cache.read_record(cache.hash_path(str(of_reply[0].request_hash), context.cache))
        answer = _answer_text(record) or "(no answer)"
        request = dict(record["request"])
        request["messages"] = prompts.correction(request["messages"], answer, _faults(of_reply, record, config))
        request["prompt_version"] = f"{prompts.version(config.about, config.steps)}+{prompts.VERSIONS['correction']}"
        repaired = self._texts(label, of_reply[0].rival, request, context)
        readable = any(not text.status.startswith("failed") for text in of_reply)
        if not cache.reply_path(request, context.cache).exists():
            raise limits.NoReplyError(repaired[0].status)
        if readable and repaired[0].status.startswith("failed"):
            return texts
        return [text for text in texts if text not in of_reply] + repaired

    def request(self, label: str, rivals: list[str]) -> dict[str, Any]:
        """Return everything that determines the reply. Its hash names the file of the cached reply."""
        config = self.config
        whole = config.sentences if config.about == "motion" else self._sentences_per_answer
        return {
            "base_url": config.server.base_url,
            "model": config.model,
            "temperature": config.temperature,
            "messages": prompts.messages(label, rivals, whole, config.about, config.steps),
            "schema": answers.schema(config.about, config.steps) if config.structured else None,
            "prompt_version": prompts.version(config.about, config.steps),
        }

    def _texts(self, label: str, rival: str | None, request: dict[str, Any], context: Context) -> list[Text]:
        """Return the rows of one request: its sentences, or one row with status `failed: ...`.

        The reply comes from the cache or is requested.
        """
        fields: dict[str, Any] = {
            "rival": rival,
            "kind": self.config.about,
            "source": request["base_url"],
            "prompt_version": request["prompt_version"],
            "request_hash": cache.request_hash(request),
        }
        try:
            record = cache.fetch_reply(request, context.cache, partial(self._send, request))
        except (limits.NoReplyError, limits.CapError) as error:
            return [Text(label, "", status=f"failed: {error}", **fields)]
        self._count(request, record)
        fields["date"] = record["date"]
        try:
            completion = read_completion(record["reply"])
            fields["model"] = completion.model
            sentences = answers.parse_answer(completion.answer(), self.config.about, self.config.steps)
        except ValueError as error:
            path = cache.reply_path(request, context.cache)
            return [Text(label, "", status=f"failed: {error}; to query the model again, delete {path}", **fields)]
        return [Text(label, sentence, position=position, **fields) for position, sentence in sentences]

    def _send(self, request: dict[str, Any]) -> dict[str, Any]:
        key = cache.request_hash(request)
        if self.config.batch and len(request["messages"]) == 1:  # corrections are sent singly, at full price
            raise limits.NoReplyError(self.batch_failures.get(key, "it is in no batch"))
        return self.chat.send(request, self._estimate(request))

    def _count(self, request: dict[str, Any], record: dict[str, Any]) -> None:
        self.chat.count(request, record, self._estimate(request))

    def _estimate(self, request: dict[str, Any]) -> limits.Tokens:
        return limits.estimate(request, self._sentences_per_answer)

    @property
    def _sentences_per_answer(self) -> int:
        return self.config.sentences + self.config.steps + 2

    def _report_cost(self, classes: int, missing: int, expected: limits.Tokens) -> None:
        """Print the estimated cost. Raises ValueError if it exceeds `max_usd`."""
        config = self.config
        if not missing:
            _print(f"all {classes} classes have cached replies; nothing is sent")
            return
        text = f"{missing} of {classes} classes to request from {config.server.base_url}, {classes - missing} cached; "
        text += f"about {expected.prompt} tokens in and {expected.completion} out, estimated from characters; "
        if config.prices is None:
            _print(text + "price unknown (set price_in, price_out)")
            return
        usd = config.prices.cost(expected) * (limits.BATCH_PRICE_FACTOR if config.batch else 1.0)
        spent = self.chat.ledger.spent_usd
        _print(f"{text}about {usd:.4g} USD{' in a batch' if config.batch else ''}, {spent:.4g} USD paid before")
        if config.max_usd is not None and spent + usd > config.max_usd:
            raise ValueError(
                f"chat_api: max_usd: the table would cost about {spent + usd:.4g} USD ({spent:.4g} of it paid before), "
                f"the cap is {config.max_usd:g}; nothing was sent; raise max_usd, or use a cheaper model, fewer sentences "
                "or batch: true"
            )


def _faults(texts: list[Text], record: dict[str, Any], config: ChatOptions) -> list[str]:
    """Return the faults of a reply, one string each, for the correction. Paths and hints for the user are left out."""
    try:
        answers.parse_answer(read_completion(record["reply"]).answer(), config.about)
    except ValueError as error:
        return [str(error)]
    return [
        f'{part_name(text.position)}, "{text.sentence}": {text.status}'
        if text.sentence
        else f"{part_name(text.position)}: {text.status}"
        for text in texts
        if text.status != "ok"
    ]


def _answer_text(record: dict[str, Any]) -> str | None:
    try:
        return read_completion(record["reply"]).text
    except ValueError:
        return None


def _print(text: str) -> None:
    print(f"chat_api: {text}", file=sys.stderr)
