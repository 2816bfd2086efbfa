"""What a table may use of a paid service: money up to a cap, requests and tokens up to a rate.

Tokens are estimated from characters, as exact counting needs the model's own tokenizer; what a reply really took is
read from it (`usage`) and replaces the estimate.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition, Lock
from typing import Any

from kinetext.core.detached import pause

CHARACTERS_A_TOKEN = 4  # of English, OpenAI's rule of thumb; other languages take more tokens
TOKENS_A_SENTENCE = 35  # 25 words, the most that is asked for, at 4/3 tokens a word
BATCH_SHARE = 0.5  # OpenAI's price of a request in a batch


@dataclass(frozen=True)
class Tokens:
    """How many go in and come out."""

    put_in: int
    out: int

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(self.put_in + other.put_in, self.out + other.out)


@dataclass(frozen=True)
class Prices:
    """USD per million tokens."""

    put_in: float
    out: float

    def cost(self, tokens: Tokens) -> float:
        """USD."""
        return (tokens.put_in * self.put_in + tokens.out * self.out) / 1e6


def estimate(asked: dict[str, Any], sentences: int) -> Tokens:
    """About how many tokens a request takes whose answer has so many sentences, the JSON around them included."""
    sent = sum(len(message["content"]) for message in asked["messages"])
    sent += len(json.dumps(asked["schema"])) if asked["schema"] else 0
    return Tokens(-(-sent // CHARACTERS_A_TOKEN), sentences * TOKENS_A_SENTENCE + 20)


class CapError(Exception):
    """The next request could bring the table's cost above the cap."""


class Ledger:
    """What the replies of one table cost, whether they were paid for today or lie in the cache since last month.

    A request holds back what it may cost until its reply says what it did cost: its estimate, or the dearest reply so
    far if that is more. With a cap the first request goes alone, so that an estimate that is far off is found out
    before many are in flight. A request that ended without a reply counts as if it had been paid for where the server
    may have answered.
    """

    def __init__(self, prices: Prices | None, cap_usd: float | None):
        self.prices, self.cap_usd = prices, cap_usd
        self.replies: dict[str, tuple[Tokens, float]] = {}  # by hash of the request: tokens, USD
        self.lost_usd = self.held_usd = self.dearest_usd = 0.0
        self.in_flight = 0
        self.changed = Condition()

    def count(self, key: str, tokens: Tokens, share: float = 1.0) -> None:
        """Note a reply. It counts once, however often it is read."""
        usd = self.prices.cost(tokens) * share if self.prices else 0.0
        with self.changed:
            self.replies[key] = tokens, usd
            self.dearest_usd = max(self.dearest_usd, usd)

    @property
    def spent_usd(self) -> float:
        """USD, so far."""
        return self.lost_usd + sum(usd for _, usd in self.replies.values())

    @property
    def tokens(self) -> Tokens:
        """Of all replies, so far."""
        return sum((tokens for tokens, _ in self.replies.values()), Tokens(0, 0))

    @contextmanager
    def hold(self, expected: Tokens) -> Iterator[None]:
        """Around a request. Waits while only requests in flight stand in the way; raises CapError if the cap does."""
        if self.cap_usd is None or self.prices is None:
            yield
            return
        with self.changed:
            while self.in_flight and (not self.replies or self._with(expected) > self.cap_usd):
                self.changed.wait()
            if self._with(expected) > self.cap_usd:
                raise CapError(f"cost cap of {self.cap_usd:g} USD ({self.spent_usd:.4g} spent); raise max_usd")
            held = max(self.prices.cost(expected), self.dearest_usd)
            self.held_usd += held
            self.in_flight += 1
        try:
            yield
        except Exception as error:
            if getattr(error, "perhaps_paid", False):
                with self.changed:
                    self.lost_usd += held
            raise
        finally:
            with self.changed:
                self.held_usd -= held
                self.in_flight -= 1
                self.changed.notify_all()

    def _with(self, expected: Tokens) -> float:
        assert self.prices
        return self.spent_usd + self.held_usd + max(self.prices.cost(expected), self.dearest_usd)


class Pace:
    """Spaces requests evenly: each takes 60 / requests_per_minute seconds of the line, or its tokens' share of a minute."""

    def __init__(self, requests_per_minute: float | None, tokens_per_minute: float | None):
        self.requests_per_minute, self.tokens_per_minute = requests_per_minute, tokens_per_minute
        self.free_at = 0.0  # time.monotonic() at which the next may go
        self.lock = Lock()

    def wait(self, tokens: Tokens) -> None:
        """Sleep until it is this request's turn. Raises SystemExit once it is time to stop (outlive.py)."""
        if not self.requests_per_minute and not self.tokens_per_minute:
            return
        takes_s = 60 / self.requests_per_minute if self.requests_per_minute else 0.0
        if self.tokens_per_minute:
            takes_s = max(takes_s, (tokens.put_in + tokens.out) * 60 / self.tokens_per_minute)
        with self.lock:
            now = time.monotonic()
            turn = max(now, self.free_at)
            self.free_at = turn + takes_s
        pause(turn - now)
