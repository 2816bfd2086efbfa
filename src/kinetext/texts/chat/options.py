"""The options of the provider chat_api: which model, where, how patiently and for how much."""

import re
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, field_validator, model_validator

from kinetext.core.plugins import Options
from kinetext.texts.chat.client import Server
from kinetext.texts.chat.limits import Prices
from kinetext.texts.prompts import About

OPENAI_URL = "https://api.openai.com/v1"
# developers.openai.com/api/docs/pricing, as quoted in May 2026; any other model's price has to be given
DEFAULT_MODEL, DEFAULT_PRICES = "gpt-4o", Prices(2.5, 10.0)


class ChatOptions(Options):
    """Which model, where, how patiently and for how much."""

    # a key that was put into the wrong field must not be printed with the complaint
    model_config = ConfigDict(hide_input_in_errors=True)

    model: str = Field(DEFAULT_MODEL, min_length=1, description="model, as the server names it")
    base_url: str | None = Field(
        None, description="server, e.g. http://localhost:11434/v1; absent: OpenAI's, whatever OPENAI_BASE_URL says"
    )
    api_key_env: str = Field("OPENAI_API_KEY", description="environment variable that holds the key")
    about: About = Field("motion", description="motion, or what one still picture shows, as a control")
    sentences: int = Field(
        3,
        ge=1,
        le=20,
        description="whole-motion sentences per class, beside start and end; an appearance has no others",
    )
    temperature: float | None = Field(
        0.0, ge=0, le=2, description="0: as repeatable as the server can; null: not sent, for models that refuse it"
    )
    structured: bool = Field(True, description="ask for the JSON schema; falls back where the server refuses it")
    max_repairs: int = Field(
        1, ge=0, le=5, description="times a class is asked again, with what is wrong with its sentences"
    )
    max_in_flight: int = Field(4, ge=1, le=64, description="requests at once")
    requests_per_minute: float | None = Field(None, gt=0, description="the most that are sent, evenly spaced")
    tokens_per_minute: float | None = Field(None, gt=0, description="the most that are sent, in and out, as estimated")
    timeout_s: float = Field(120.0, gt=0, description="seconds to wait for a reply")
    retries: int = Field(5, ge=0, description="further tries after a timeout, 429 or 5xx; Retry-After is honoured")
    max_usd: float | None = Field(None, ge=0, description="what all replies of a table may cost, cached ones included")
    price_in: float | None = Field(None, ge=0, description="USD per million tokens sent; known for gpt-4o alone")
    price_out: float | None = Field(None, ge=0, description="USD per million tokens of the answer")
    batch: bool = Field(False, description="OpenAI's Batch API: half the price, an answer within a day")
    batch_wait_s: float = Field(3600.0, ge=0, description="seconds to wait for a batch; run again to go on waiting")
    batch_poll_s: float = Field(30.0, gt=0, description="seconds between questions whether the batch is done")

    @field_validator("api_key_env")
    @classmethod
    def _name_not_key(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
            raise ValueError("must be the name of an environment variable in capitals, never the key itself")
        return name

    @field_validator("base_url")
    @classmethod
    def _plain_url(cls, url: str | None) -> str | None:
        parts = urlsplit(url or OPENAI_URL)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query:
            raise ValueError("must be http(s)://host/path, without user, password or query: it is kept with each reply")
        return url.rstrip("/") if url else None

    @model_validator(mode="after")
    def _priced(self) -> "ChatOptions":
        if (self.price_in is None) != (self.price_out is None):
            raise ValueError("price_in, price_out: give both, in USD per million tokens")
        if self.max_usd is not None and self.prices is None:
            raise ValueError("max_usd: the price of this model is not known here; give price_in and price_out")
        return self

    @property
    def prices(self) -> Prices | None:
        """USD per million tokens; None where they are neither given nor known."""
        if self.price_in is not None and self.price_out is not None:
            return Prices(self.price_in, self.price_out)
        return DEFAULT_PRICES if self.model == DEFAULT_MODEL and self.base_url is None else None

    @property
    def server(self) -> Server:
        """Where requests go."""
        return Server(self.base_url or OPENAI_URL, self.api_key_env, self.timeout_s, self.retries)
