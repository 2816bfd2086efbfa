"""Limits on the use of a paid service: a cap on the cost, and maximum rates of requests and tokens.

Tokens are estimated from characters, because exact counts need the tokenizer of the model. The counts that a reply
states (`usage`) replace the estimate.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition, Lock
from typing import Any

from kinetext.core import detached

CHARACTERS_PER_TOKEN = 4  # of English, OpenAI's rule of thumb; other languages take more tokens
IMAGE_TOKENS = 85  # of an image of up to 512 px at OpenAI with `detail: low`; other models take 50 to 300
TOKENS_PER_WORD = 4 / 3
MAX_WORDS = 25  # the most words that are requested per sentence, with a backbone that reads at least 36 tokens
TOKENS_PER_SENTENCE = 35  # MAX_WORDS, rounded up
BATCH_PRICE_FACTOR = 0.5  # OpenAI's price of a request in a batch


@dataclass(frozen=True)
class Tokens:
    """Numbers of tokens of a request (`prompt`) and its answer (`completion`)."""

    prompt: int
    completion: int

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(self.prompt + other.prompt, self.completion + other.completion)


@dataclass(frozen=True)
class Prices:
    """Prices in USD per million tokens of requests (`prompt`) and answers (`completion`)."""

    prompt: float
    completion: float

    def cost(self, tokens: Tokens) -> float:
        """Return the cost in USD."""
        return (tokens.prompt * self.prompt + tokens.completion * self.completion) / 1e6


@dataclass(frozen=True)
class Cost:
    """Tokens of several requests and their answers, and the price of these tokens."""

    tokens: Tokens
    usd: float | None  # None: the price is unknown


def estimate(request: dict[str, Any], sentences: int) -> Tokens:
    """Return the estimated tokens of a request, and of an answer in JSON with `sentences` sentences."""
    parts = [part for message in request["messages"] for part in _parts(message["content"])]
    characters = sum(len(part["text"]) for part in parts if part["type"] == "text")
    characters += len(json.dumps(request["schema"])) if request["schema"] else 0
    images = sum(part["type"] == "image_url" for part in parts)
    prompt = -(-characters // CHARACTERS_PER_TOKEN) + images * IMAGE_TOKENS
    return Tokens(prompt, sentences * TOKENS_PER_SENTENCE + 20)


def _parts(content: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the content of a message as a list of texts and images."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def words_within(tokens: int) -> int:
    """Return the most words that are requested per sentence for a backbone that reads `tokens` tokens.

    Two of the tokens are the start and the end. The result is MAX_WORDS for a backbone without a text encoder.
    """
    words = int((tokens - 2) / TOKENS_PER_WORD)
    return min(words, MAX_WORDS) if words > 0 else MAX_WORDS


class NoReplyError(Exception):
    """The server gave no reply to one request. Requests for other classes may succeed.

    `maybe_charged`: the server may have answered, and charged for it, although the answer did not arrive.
    """

    def __init__(self, reason: str, maybe_charged: bool = False):
        super().__init__(reason)
        self.maybe_charged = maybe_charged


class CapError(Exception):
    """The next request could bring the cost of the table above the cap."""


class Ledger:
    """The cost of the replies of one table, both newly paid and cached ones.

    While a request is open, an amount is reserved for it: its estimated cost, or the cost of the most expensive reply
    so far if that is higher. With a cap, the first request is sent alone, so that a wrong estimate is noticed before
    many requests are open. A request without a reply counts as paid if the server may have answered.
    """

    def __init__(self, prices: Prices | None, cap_usd: float | None):
        self.prices, self.cap_usd = prices, cap_usd
        self.replies: dict[str, tuple[Tokens, float]] = {}  # hash of the request -> tokens, USD
        self.lost_usd = self.reserved_usd = self.highest_usd = 0.0
        self.open_requests = 0
        self.changed = Condition()

    def count(self, key: str, tokens: Tokens, price_factor: float = 1.0) -> None:
        """Count the cost of a reply. A reply that is read several times, with the same `key`, counts once."""
        usd = self.prices.cost(tokens) * price_factor if self.prices else 0.0
        with self.changed:
            self.replies[key] = tokens, usd
            self.highest_usd = max(self.highest_usd, usd)

    @property
    def spent_usd(self) -> float:
        """Cost so far in USD."""
        return self.lost_usd + sum(usd for _, usd in self.replies.values())

    @property
    def tokens(self) -> Tokens:
        """Tokens of all replies so far."""
        return sum((tokens for tokens, _ in self.replies.values()), Tokens(0, 0))

    @contextmanager
    def reserve(self, expected: Tokens) -> Iterator[None]:
        """Reserve the cost of a request while it is open.

        With a cap, this first waits while the first request is open, or while open requests could bring the cost above
        the cap. Raises CapError if the request could exceed the cap.
        """
        if self.cap_usd is None or self.prices is None:
            yield
            return
        with self.changed:
            while self.open_requests and (not self.replies or self._total_with(expected) > self.cap_usd):
                self.changed.wait()
            if self._total_with(expected) > self.cap_usd:
                raise CapError(f"cost cap of {self.cap_usd:g} USD ({self.spent_usd:.4g} spent); raise max_usd")
            reserved = max(self.prices.cost(expected), self.highest_usd)
            self.reserved_usd += reserved
            self.open_requests += 1
        try:
            yield
        except NoReplyError as error:
            if error.maybe_charged:
                with self.changed:
                    self.lost_usd += reserved
            raise
        finally:
            with self.changed:
                self.reserved_usd -= reserved
                self.open_requests -= 1
                self.changed.notify_all()

    def _total_with(self, expected: Tokens) -> float:
        assert self.prices
        return self.spent_usd + self.reserved_usd + max(self.prices.cost(expected), self.highest_usd)


class RateLimit:
    """A rate limit that spaces requests evenly, by requests per minute and by estimated tokens per minute."""

    def __init__(self, requests_per_minute: float | None, tokens_per_minute: float | None):
        self.requests_per_minute, self.tokens_per_minute = requests_per_minute, tokens_per_minute
        self.free_at = 0.0  # time.monotonic() at which the next request may be sent
        self.lock = Lock()

    def wait(self, tokens: Tokens) -> None:
        """Sleep until this request may be sent. Raises SystemExit if the process should stop."""
        if not self.requests_per_minute and not self.tokens_per_minute:
            return
        spacing_s = 60 / self.requests_per_minute if self.requests_per_minute else 0.0
        if self.tokens_per_minute:
            spacing_s = max(spacing_s, (tokens.prompt + tokens.completion) * 60 / self.tokens_per_minute)
        with self.lock:
            now = time.monotonic()
            start = max(now, self.free_at)
            self.free_at = start + spacing_s
        detached.sleep(start - now)
