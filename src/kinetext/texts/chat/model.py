"""A model behind an API, with the limits that all requests of a table or run share: cost cap, rate, requests at once.

The texts of classes (providers/chat_api.py) and the answers about clips (methods/video_llm) go through this class.
"""

from threading import Semaphore
from typing import Any

from kinetext.core.detached import paid_request
from kinetext.texts import cache
from kinetext.texts.chat import limits
from kinetext.texts.chat.completion import read_completion
from kinetext.texts.chat.negotiation import NO_IMAGES, Images, Negotiation
from kinetext.texts.chat.options import ServerOptions


class ChatModel:
    """Sends requests within the limits of its options, and counts what all replies cost, cached ones included."""

    def __init__(self, config: ServerOptions, user: str = "chat_api"):
        """Prepare for requests. `user` names who asks, in error messages."""
        self.server = config.server_for(user)
        self.ledger = limits.Ledger(config.prices, config.max_usd)
        self.rate = limits.RateLimit(config.requests_per_minute, config.tokens_per_minute)
        self.negotiation = Negotiation(self.server)
        self.slots = Semaphore(config.max_in_flight)

    def send(self, request: dict[str, Any], expected: limits.Tokens, images: Images = NO_IMAGES) -> dict[str, Any]:
        """Send a request; return the fields of its cache record (see `Negotiation.send`) and count its cost.

        `expected` are the estimated tokens. Raises NoReplyError, CapError if the cost cap could be exceeded, ValueError
        if other requests would fail too, and SystemExit if the process should stop.
        """
        with self.slots, self.ledger.reserve(expected):
            self.rate.wait(expected)
            with paid_request():
                record = self.negotiation.send(request, images)
            self.count(request, record, expected)
        return record

    def count(self, request: dict[str, Any], record: dict[str, Any], expected: limits.Tokens) -> None:
        """Count the cost of a reply by the tokens that the server states, else by the `expected` ones."""
        price_factor = limits.BATCH_PRICE_FACTOR if "batch" in record else 1.0
        self.ledger.count(cache.request_hash(request), stated_tokens(record) or expected, price_factor)


def stated_tokens(record: dict[str, Any]) -> limits.Tokens | None:
    """Return the token counts that a server states in its reply; None if it states none."""
    try:
        return read_completion(record["reply"]).tokens
    except ValueError:
        return None
