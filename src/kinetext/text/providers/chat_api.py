"""Descriptions by a language model, over the chat-completions API of OpenAI or of any server that speaks it (vLLM,
Ollama, ...). After MoTED (CVPR 2024), which asked GPT-4; the wording is ours (text/prompts.py).

One request per class, with its rivals; a row's `rival` holds them all, separated by " | ". Every raw reply is kept
under the hash of its request before it is parsed (text/cache.py), so a table that was made once is made again without
a key, a network or a cent. The key is read from the environment when a request is sent, and goes nowhere else.
"""

import json
import os
import re
from typing import Any
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, field_validator

from kinetext.registry import Options
from kinetext.text import cache, prompts
from kinetext.text.providers import Context, Text

OPENAI_URL = "https://api.openai.com/v1"
MODES = ("json_schema", "json_object", "text")  # of answering, the strictest first

_refused: set[tuple[str, str, str]] = set()  # (server, model, mode): what it answered 400 to while another mode went


class Config(Options):
    """Which model, where, and how patiently."""

    # a key that was put into the wrong field must not be printed with the complaint
    model_config = ConfigDict(hide_input_in_errors=True)

    model: str = Field("gpt-4o", min_length=1, description="model, as the server names it")
    base_url: str | None = Field(
        None, description="server, e.g. http://localhost:11434/v1; absent: OpenAI's, whatever OPENAI_BASE_URL says"
    )
    api_key_env: str = Field("OPENAI_API_KEY", description="environment variable that holds the key")
    sentences: int = Field(3, ge=1, le=20, description="whole-motion sentences per class, beside start and end")
    temperature: float | None = Field(
        0.0, ge=0, le=2, description="0: as repeatable as the server can; null: not sent, for models that refuse it"
    )
    max_in_flight: int = Field(4, ge=1, le=64, description="requests at once")
    timeout_s: float = Field(120.0, gt=0, description="seconds to wait for a reply")
    retries: int = Field(5, ge=0, description="further tries after a timeout, 429 or 5xx; Retry-After is honoured")
    structured: bool = Field(True, description="ask for the JSON schema; falls back where the server refuses it")

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


def describe(label: str, rivals: list[str], config: Config, context: Context) -> list[Text]:
    """Start, end and `sentences` whole-motion sentences about a class, or one row with status `failed: ...`.

    Raises ValueError where every class would fail: no key and no cached reply, key refused, no such model, no server.
    """
    asked = request(label, rivals, config)
    about: dict[str, Any] = {
        "rival": " | ".join(rivals) or None,
        "kind": "motion",
        "source": asked["base_url"],
        "prompt_version": prompts.VERSION,
        "request_hash": cache.request_hash(asked),
    }
    try:
        record = cache.reply_to(asked, context.cache, lambda: _ask(asked, config))
    except NoReplyError as error:
        return [Text(label, "", status=f"failed: {error}", **about)]
    about["date"] = record["date"]
    try:
        model, content = read_reply(record["reply"])
        about["model"] = model
        answer = prompts.parse_answer(content)
    except ValueError as error:
        path = cache.reply_path(asked, context.cache)
        return [Text(label, "", status=f"failed: {error}; to ask again, delete {path}", **about)]
    phases = [("start", answer["start"]), ("end", answer["end"]), *(("whole", s) for s in answer["whole"])]
    return [Text(label, sentence, phase=phase, **about) for phase, sentence in phases]


def request(label: str, rivals: list[str], config: Config) -> dict[str, Any]:
    """All that shapes the reply. Its hash is the reply's name in the cache."""
    return {
        "base_url": config.base_url or OPENAI_URL,
        "model": config.model,
        "temperature": config.temperature,
        "messages": prompts.messages(label, rivals, config.sentences),
        "schema": prompts.ANSWER_SCHEMA if config.structured else None,
        "prompt_version": prompts.VERSION,
    }


def read_reply(body: str) -> tuple[str, str]:
    """The model's name and the text of its answer, from the raw body of a chat completion.

    Raises ValueError if it is none, is cut off, or is a refusal.
    """
    try:
        reply = json.loads(body)
        choice = reply["choices"][0]
        message = choice["message"]
        content, refusal, model = message.get("content"), message.get("refusal"), str(reply["model"])
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ValueError("the reply is no chat completion") from None
    if refusal:
        raise ValueError(f"the model refused ({_line(str(refusal))})")
    if choice.get("finish_reason") == "length":
        raise ValueError("the answer was cut off at the server's limit of tokens")
    if not isinstance(content, str):
        raise ValueError("the reply has no text")
    return model, content


class NoReplyError(Exception):
    """The server gave no reply to one class's request; another class may fare better."""


def _ask(asked: dict[str, Any], config: Config) -> dict[str, Any]:
    """Send the request; the raw body of the reply, and the mode of answering that the server accepted."""
    key = os.environ.get(config.api_key_env, "").strip()
    if not key:
        raise ValueError(
            f"chat_api: no key in the environment variable {config.api_key_env} and no cached reply; set the variable, "
            "or use texts without a server (modules bundled or names, or a results/cache that holds the replies), or "
            "set base_url to a local server such as vLLM or Ollama, where any key will do"
        )
    if not re.fullmatch(r"[!-~]+", key):  # the HTTP library would print it with its complaint
        raise ValueError(
            f"chat_api: the key in {config.api_key_env} holds a blank or a sign beyond ASCII; set it again"
        )
    import openai

    where, model = asked["base_url"], asked["model"]
    modes = [mode for mode in MODES if config.structured or mode == "text"]
    modes = [mode for mode in modes if (where, model, mode) not in _refused]
    tried = []
    try:
        with openai.OpenAI(api_key=key, base_url=where, timeout=config.timeout_s, max_retries=config.retries) as client:
            while True:
                try:
                    reply = client.chat.completions.with_raw_response.create(**_arguments(asked, modes[0]))
                except (openai.BadRequestError, openai.UnprocessableEntityError):
                    tried.append(modes.pop(0))
                    if not modes:
                        raise
                else:
                    _refused.update((where, model, mode) for mode in tried)
                    return {"mode": modes[0], "reply": _without(key, reply.text)}
    except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
        why = _line(_without(key, str(error)))
        raise ValueError(f"chat_api: {where} refuses the key in {config.api_key_env}: {why}") from None
    except openai.NotFoundError as error:
        raise ValueError(f"chat_api: {where} has no model '{model}': {_line(_without(key, str(error)))}") from None
    except openai.APITimeoutError:
        raise NoReplyError(f"no reply within {config.timeout_s:g} s, tried {config.retries + 1} times") from None
    except openai.APIConnectionError as error:
        why = _line(_without(key, str(error.__cause__ or error)))
        raise ValueError(f"chat_api: base_url: no connection to {where} ({why}); is the server running?") from None
    except openai.OpenAIError as error:
        raise NoReplyError(_line(_without(key, str(error)))) from None


def _arguments(asked: dict[str, Any], mode: str) -> dict[str, Any]:
    arguments: dict[str, Any] = {"model": asked["model"], "messages": asked["messages"]}
    if asked["temperature"] is not None:
        arguments["temperature"] = asked["temperature"]
    if mode == "json_schema":
        form = {"name": "motion", "strict": True, "schema": asked["schema"]}
        arguments["response_format"] = {"type": "json_schema", "json_schema": form}
    elif mode == "json_object":
        arguments["response_format"] = {"type": "json_object"}
    return arguments


def _without(key: str, text: str) -> str:
    """Some servers repeat the key in what they answer. A short one is a local server's dummy, and any word's part."""
    return text.replace(key, "***") if len(key) >= 8 else text


def _line(text: str) -> str:
    """A server's message on one line, cut to 300 characters."""
    return " ".join(text.split())[:300]
