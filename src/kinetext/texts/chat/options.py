"""Options of everything that asks a language model: model, server, limits on time and money; and of the provider
chat_api.
"""

import re
from typing import ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, field_validator, model_validator

from kinetext.core.plugins import Options
from kinetext.texts.answers import About
from kinetext.texts.chat.client import Server
from kinetext.texts.chat.limits import Prices

OPENAI_URL = "https://api.openai.com/v1"
# developers.openai.com/api/docs/pricing, as quoted in May 2026; prices of other models are options
DEFAULT_MODEL, DEFAULT_PRICES = "gpt-4o", Prices(2.5, 10.0)


class ServerOptions(Options):
    """Options of a model behind an OpenAI-compatible server, and limits on time and cost."""

    # an error must not print a key that was put into the wrong field
    model_config = ConfigDict(hide_input_in_errors=True)

    # how requests are sent, not what is requested: neither the hash of a request nor run.yaml of a text set has them
    operational: ClassVar[frozenset[str]] = frozenset(
        {
            *("api_key_env", "max_in_flight", "requests_per_minute", "tokens_per_minute", "timeout_s", "retries"),
            *("max_usd", "price_in", "price_out"),
        }
    )

    model: str = Field(DEFAULT_MODEL, min_length=1, description="model name at the server")
    base_url: str | None = Field(
        None, description="server, e.g. http://localhost:11434/v1; absent: OpenAI, whatever OPENAI_BASE_URL is"
    )
    api_key_env: str = Field(
        "OPENAI_API_KEY",
        description="environment variable that holds the key; not needed for a base_url whose server checks none",
    )
    temperature: float | None = Field(
        0.0,
        ge=0,
        le=2,
        description="0: as reproducible as the server allows; null: not sent, for models that refuse it",
    )
    structured: bool = Field(
        True, description="request the JSON schema; falls back to JSON mode and plain text if refused"
    )
    max_in_flight: int = Field(4, ge=1, le=64, description="requests at once")
    requests_per_minute: float | None = Field(None, gt=0, description="maximum rate, evenly spaced")
    tokens_per_minute: float | None = Field(None, gt=0, description="maximum rate of prompt and answer, as estimated")
    timeout_s: float = Field(120.0, gt=0, description="seconds to wait for a reply")
    retries: int = Field(5, ge=0, description="retries after a timeout, 429 or 5xx; Retry-After is respected")
    max_usd: float | None = Field(
        None, ge=0, description="cap on the cost of all replies of a table, including cached ones"
    )
    price_in: float | None = Field(None, ge=0, description="USD per million prompt tokens; known for gpt-4o only")
    price_out: float | None = Field(None, ge=0, description="USD per million answer tokens")

    @field_validator("api_key_env")
    @classmethod
    def _is_variable_name(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
            raise ValueError("must be the name of an environment variable in capitals, never the key itself")
        return name

    @field_validator("base_url")
    @classmethod
    def _is_plain_url(cls, url: str | None) -> str | None:
        parts = urlsplit(url or OPENAI_URL)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query:
            raise ValueError(
                "must be http(s)://host/path, without user, password or query: it is stored with each reply"
            )
        return url.rstrip("/") if url else None

    @model_validator(mode="after")
    def _has_prices(self) -> "ServerOptions":
        if (self.price_in is None) != (self.price_out is None):
            raise ValueError("price_in, price_out: set both, in USD per million tokens")
        if self.max_usd is not None and self.prices is None:
            raise ValueError("max_usd: the price of this model is unknown; set price_in and price_out")
        return self

    @property
    def prices(self) -> Prices | None:
        """Prices in USD per million tokens; None if they are neither set nor known."""
        if self.price_in is not None and self.price_out is not None:
            return Prices(self.price_in, self.price_out)
        return DEFAULT_PRICES if self.model == DEFAULT_MODEL and self.base_url is None else None

    @property
    def server(self) -> Server:
        """The server with its key variable and its limits."""
        return self.server_for("chat_api")

    def server_for(self, user: str) -> Server:
        """Return the server with its key variable and its limits. `user` names who asks, in error messages."""
        url = self.base_url or OPENAI_URL
        return Server(url, self.api_key_env, self.timeout_s, self.retries, self.base_url is None, user)


class ChatOptions(ServerOptions):
    """Options of the provider chat_api."""

    operational: ClassVar[frozenset[str]] = ServerOptions.operational | {"batch", "batch_wait_s", "batch_poll_s"}

    about: About = Field("motion", description="motion, or appearance (what one still picture shows) as a control")
    ask: Literal["class", "pair"] = Field(
        "class",
        description="class: one request per class, which names its rivals; pair: one per pair of rivals, which compares them",
    )
    sentences: int = Field(
        3,
        ge=1,
        le=20,
        description="sentences about the whole movement per class, besides start, steps and end",
    )
    steps: int = Field(
        2, ge=0, le=10, description="sentences about moments between start and end, in temporal order; 0: none"
    )
    max_repairs: int = Field(1, ge=0, le=5, description="corrections requested per class whose answer has faults")
    batch: bool = Field(False, description="OpenAI's Batch API: half the price, answers within a day")
    batch_wait_s: float = Field(3600.0, ge=0, description="seconds to wait for a batch; run again to continue waiting")
    batch_poll_s: float = Field(30.0, gt=0, description="seconds between two requests for the state of a batch")

    @model_validator(mode="after")
    def _compares_motion(self) -> "ChatOptions":
        if self.ask == "pair" and self.about != "motion":
            raise ValueError("ask: pair compares the motion of two classes; with about: appearance take ask: class")
        return self
