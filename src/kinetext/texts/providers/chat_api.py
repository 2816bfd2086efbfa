"""Descriptions by a language model, through the chat-completions API of OpenAI or of any compatible server (vLLM,
Ollama, ...). After MoTED (CVPR 2024), which used GPT-4; the prompts are ours (texts/prompts.py).

One request per class is sent, which names its rivals; the column `rival` holds them all, separated by " | ". With `ask:
pair` one request per pair of confusable classes is sent, which compares the two; each class gets what distinguishes it
from the other, and `rival` is that other class. Every raw
reply is stored under the hash of its request before it is parsed (texts/cache.py). Making the same table again
therefore costs nothing and needs neither key nor network. The key is read from the environment when a request is sent;
it is never stored or logged.

SIGKILL loses no paid answer: stored replies are never requested again, and a process that survives the killed one
finishes the open requests (core/detached.py). An event that ends both processes, such as a power cut, loses up to
`max_in_flight` answers. With `batch`, replies wait at the server.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from threading import Lock
from typing import Any, ClassVar

from kinetext.texts import cache, prompts
from kinetext.texts.chat import batch, limits
from kinetext.texts.chat.completion import read_completion
from kinetext.texts.chat.model import ChatModel
from kinetext.texts.chat.options import ChatOptions
from kinetext.texts.providers.base import Context, Provider, Text
from kinetext.texts.questions import (
    Question,
    correction,
    pair_partners,
    pair_question,
    parse,
    questions,
    sentences_per_class,
)

# a higher cap alone does not write a finished table again, because no operational option does
REBUILD = "snakemake --forcerun describe_classes"
NUM_RIVALS = 3  # per class in an estimate of the cost, as the default of confusables.rivals


class ChatApi(Provider):
    """Descriptions by a language model on a chat-completions server."""

    Config: ClassVar[type[ChatOptions]] = ChatOptions
    request_unit: ClassVar[str] = "classes"  # what requests are counted in, with `ask: class`
    fixed_counts: ClassVar[bool] = True  # whether each class must have `sentences` and `steps` sentences per answer

    def __init__(self, config: ChatOptions):
        super().__init__(config)
        self.chat = ChatModel(config)
        self.batch_failures: dict[str, str] = {}  # hash of the request -> reason
        self._undescribed: set[str] = set()
        self._partners: dict[str, list[str]] = {}  # of each class, with `ask: pair`
        self._max_words = limits.MAX_WORDS
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
    def sentences(self) -> int | None:
        """How many sentences about the whole movement are requested; None without `fixed_counts`."""
        return self.config.sentences if self.fixed_counts else None

    @property
    def steps(self) -> int | None:
        """How many sentences about moments between start and end are requested; None without `fixed_counts`."""
        return self.config.steps if self.fixed_counts else None

    def estimate_cost(self, labels: Sequence[str], train_clips: Mapping[str, int] | None = None) -> limits.Cost:
        """Return the approximate cost of the requests for these classes, each with NUM_RIVALS rivals.

        `train_clips` are the numbers of training clips of the classes, if known.
        """
        tokens = limits.Tokens(0, 0)
        for request in self._typical_requests(labels, train_clips):
            tokens += self._estimate(request)
        return limits.Cost(tokens, self._usd(tokens))

    def prepare(self, rivals: dict[str, list[str]], context: Context) -> None:
        """Print the estimated cost on stderr before anything is sent; with `batch`, fetch all answers.

        Raises ValueError if the estimate exceeds `max_usd`, if there is no key and a reply is not cached, if a batch is
        not done within `batch_wait_s`, or if requests are in an open batch while `batch` is off.
        """
        self._undescribed = set(rivals)
        self._partners, self._max_words = pair_partners(rivals), context.max_words
        self.plan_requests((question for label in rivals for question in self.questions(label, rivals[label])), context)

    def plan_requests(self, questions: Iterable[Question], context: Context) -> None:
        """Print the estimated cost of the questions; with `batch`, fetch all answers. Raises ValueError as `prepare`."""
        missing: dict[str, dict[str, Any]] = {}
        expected = limits.Tokens(0, 0)
        asked = {question.key: question for question in questions}
        for key, question in asked.items():
            if cache.has_reply(question.request, context.cache):
                self._count(question.request, cache.read_record(cache.hash_path(key, context.cache)))
            else:
                missing[key] = question.request
                expected += self._estimate(question.request)
        self._report_cost(len(asked), len(missing), expected)
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
        """Return start, `steps`, end and `sentences` whole sentences per answer, or one row with status `failed: ...`.

        With `about: appearance` as many sentences are about looks, at the same positions. Raises ValueError if every
        class would fail: no key and no cached reply, key refused, no such model, or no server.
        """
        texts = [text for question in self.questions(label, rivals) for text in self._texts(label, question, context)]
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
        """Request corrections of the answers with faults, in the same conversations; return the new rows of the class.

        A request names the faults. An answer keeps its rows if nothing is wrong, or if it was readable and the new one
        is not. Raises NoReplyError if no reply came or the cost cap was reached, and ValueError like `describe`.
        """
        of_reply: dict[str, list[Text]] = {}
        for text in texts:
            if text.request_hash and text.kind == self.config.about:
                of_reply.setdefault(text.request_hash, []).append(text)
        for key, rows in of_reply.items():
            answered = cache.hash_path(key, context.cache).exists()  # one pair may have no reply while others have
            if answered and any(text.status != "ok" for text in rows):
                repaired = self._corrected(label, key, rows, context)
                texts = [text for text in texts if text not in rows] + repaired
        return texts

    def _corrected(self, label: str, key: str, rows: list[Text], context: Context) -> list[Text]:
        """Return the rows of the corrected answer, or `rows` if it is worse."""
        record = cache.read_record(cache.hash_path(key, context.cache))
        question = Question(record["request"], rows[0].rival, self._part(label, rows[0].rival))
        question = correction(question, record, rows, self.config)
        repaired = self._texts(label, question, context)
        readable = any(not text.status.startswith("failed") for text in rows)
        if not cache.reply_path(question.request, context.cache).exists():
            raise limits.NoReplyError(repaired[0].status)
        return rows if readable and repaired[0].status.startswith("failed") else repaired

    def _part(self, label: str, rival: str | None) -> prompts.Part | None:
        """Return the key of the class in an answer about it and the rival; None if the answer is about one class."""
        if self.config.ask == "class" or rival is None or rival not in self._partners.get(label, ()):
            return None
        return pair_question(label, rival, self.config).part

    def questions(self, label: str, rivals: list[str]) -> list[Question]:
        """Return the questions about a class. `prepare` must have been called where pairs are asked about."""
        return questions(label, rivals, self._partners.get(label, rivals), self.config, self._max_words)

    def _texts(self, label: str, question: Question, context: Context) -> list[Text]:
        """Return the rows of one question: its sentences, or one row with status `failed: ...`.

        The reply comes from the cache or is requested.
        """
        request = question.request
        fields: dict[str, Any] = {
            "rival": question.rival,
            "kind": self.config.about,
            "source": request["base_url"],
            "prompt_version": request["prompt_version"],
            "request_hash": question.key,
        }
        try:
            record = cache.fetch_reply(request, context.cache, partial(self._send, request))
        except limits.CapError as error:
            return [Text(label, "", status=f"failed: {error}; then `{REBUILD}`", **fields)]
        except limits.NoReplyError as error:
            return [Text(label, "", status=f"failed: {error}", **fields)]
        self._count(request, record)
        fields["date"] = record["date"]
        try:
            completion = read_completion(record["reply"])
            fields["model"] = completion.model
            sentences = parse(question, completion.answer(), self.config)
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
        classes = 2 if self.config.ask == "pair" else 1
        return limits.estimate(request, classes * sentences_per_class(self.config))

    def _typical_requests(
        self, labels: Sequence[str], train_clips: Mapping[str, int] | None = None
    ) -> list[dict[str, Any]]:
        """Return requests as they would be sent if each class had NUM_RIVALS of the others as rivals."""
        rivals = {label: [other for other in labels if other != label][:NUM_RIVALS] for label in labels}
        partners = pair_partners(rivals)
        all_questions = (q for label in labels for q in questions(label, rivals[label], partners[label], self.config))
        return list({question.key: question.request for question in all_questions}.values())

    def _usd(self, tokens: limits.Tokens) -> float | None:
        """Return the price of tokens, in a batch if `batch`; None if it is unknown."""
        factor = limits.BATCH_PRICE_FACTOR if self.config.batch else 1.0
        return self.config.prices.cost(tokens) * factor if self.config.prices else None

    def _report_cost(self, asked: int, missing: int, expected: limits.Tokens) -> None:
        """Print the estimated cost. Raises ValueError if it exceeds `max_usd`."""
        config = self.config
        what = self.request_unit if config.ask == "class" else "pairs of classes"
        if not missing:
            _print(f"all {asked} {what} have cached replies; nothing is sent")
            return
        text = f"{missing} of {asked} {what} to request from {config.server.base_url}, {asked - missing} cached; "
        text += f"about {expected.prompt} tokens in and {expected.completion} out, estimated from characters; "
        usd = self._usd(expected)
        if usd is None:
            _print(text + "price unknown (set price_in, price_out)")
            return
        spent = self.chat.ledger.spent_usd
        _print(f"{text}about {usd:.4g} USD{' in a batch' if config.batch else ''}, {spent:.4g} USD paid before")
        if config.max_usd is not None and spent + usd > config.max_usd:
            raise ValueError(
                f"chat_api: max_usd: the table would cost about {spent + usd:.4g} USD ({spent:.4g} of it paid before), "
                f"the cap is {config.max_usd:g}; nothing was sent; raise max_usd, or use a cheaper model, fewer sentences "
                "or batch: true"
            )


def _print(text: str) -> None:
    print(f"chat_api: {text}", file=sys.stderr)
