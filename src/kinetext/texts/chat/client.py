"""Sends requests to a chat-completions server and reads what comes back. With batch.py the only module that knows openai.

The key is read from the environment when a client is made and is kept in that client alone: it is cut out of whatever
a server says, and errors of the library, which may hold it, never leave this module.
"""

import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any

from kinetext.core.detached import go_on
from kinetext.texts.chat.limits import Tokens

MODES = ("json_schema", "json_object", "text")  # of answering, the strictest first

_refused: set[tuple[str, str, str]] = set()  # (server, model, mode): what it answered 400 to while another mode went
_making = Lock()


class NoReplyError(Exception):
    """The server gave no reply to one class's request; another class may fare better.

    `perhaps_paid`: it may have answered, and charged for it, without the answer arriving.
    """

    def __init__(self, why: str, perhaps_paid: bool = False):
        super().__init__(why)
        self.perhaps_paid = perhaps_paid


@dataclass(frozen=True)
class Server:
    """Where requests go, and how patiently."""

    base_url: str
    key_env: str
    timeout_s: float
    retries: int

    def key(self) -> str:
        """The key from the environment. Raises ValueError, without it, if there is none or it cannot be sent."""
        key = os.environ.get(self.key_env, "").strip()
        if not key:
            raise ValueError(
                f"chat_api: no key in the environment variable {self.key_env} and no cached reply; set the variable, "
                "or use texts without a server (modules bundled or names, or a results/cache that holds the replies), "
                "or set base_url to a local server such as vLLM or Ollama, where any key will do"
            )
        if not re.fullmatch(r"[!-~]+", key):  # the HTTP library would print it with its complaint
            raise ValueError(f"chat_api: the key in {self.key_env} holds a blank or a sign beyond ASCII; set it again")
        return key

    def without_key(self, text: str) -> str:
        """Some servers repeat the key in what they answer. A short one is a local server's dummy, and any word's part."""
        key = os.environ.get(self.key_env, "").strip()
        return text.replace(key, "***") if len(key) >= 8 else text

    def client(self) -> Any:
        """The openai.OpenAI of this server, one for all threads: a new one per request costs a new connection."""
        key = self.key()
        with _making:  # or threads that start together would each make one
            return _client(self, key)


@cache
def _client(server: Server, key: str) -> Any:
    import openai

    for library in ("openai", "httpcore2"):  # at DEBUG they log what a server sends, and some send the key back
        logger = logging.getLogger(library)
        logger.setLevel(max(logger.level, logging.INFO))
    # before each try, openai's own second ones too: nothing is sent once the command is gone
    http = openai.DefaultHttpxClient(event_hooks={"request": [lambda _: go_on()]})
    patience: dict[str, Any] = {"timeout": server.timeout_s, "max_retries": server.retries}
    return openai.OpenAI(api_key=key, base_url=server.base_url, http_client=http, **patience)


def ask(server: Server, asked: dict[str, Any]) -> dict[str, str]:
    """Send the request; the raw body of the reply, and the mode of answering that the server accepted.

    Time-outs, cut connections, 429 and 5xx are tried again by openai's client, which waits for as long as Retry-After
    says (up to two minutes) or 0.5 s and twice as long each time (up to 8 s). Raises NoReplyError if that did not
    help, and ValueError where every other class would fail too.
    """
    client = server.client()
    import openai

    where, model = server.base_url, asked["model"]
    modes = [mode for mode in MODES if asked["schema"] or mode == "text"]
    modes = [mode for mode in modes if (where, model, mode) not in _refused]
    tried = []
    with plain_errors(server, model):
        while True:
            try:
                # not chat.completions.create, which spends a third of its time on looking through the arguments
                reply = client.post("/chat/completions", cast_to=str, body=arguments(asked, modes[0]))
            except (openai.BadRequestError, openai.UnprocessableEntityError):
                tried.append(modes.pop(0))
                if not modes:
                    raise
            else:
                _refused.update((where, model, mode) for mode in tried)
                return {"mode": modes[0], "reply": server.without_key(reply)}


@contextmanager
def plain_errors(server: Server, model: str) -> Iterator[None]:
    """Errors of openai as ValueError (nothing will work) or NoReplyError (this request did not), without the key."""
    import openai

    where = server.base_url
    try:
        yield
    except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
        why = line(server.without_key(str(error)))
        raise ValueError(f"chat_api: {where} refuses the key in {server.key_env}: {why}") from None
    except openai.NotFoundError as error:
        why = line(server.without_key(str(error)))
        raise ValueError(f"chat_api: {where} has no model '{model}': {why}") from None
    except openai.APITimeoutError:
        why = f"no reply within {server.timeout_s:g} s, tried {server.retries + 1} times"
        raise NoReplyError(why, perhaps_paid=True) from None
    except openai.APIConnectionError as error:
        cause = error.__cause__ or error
        why = line(server.without_key(str(cause)))
        if type(cause).__name__ == "ConnectError":  # by its name, as the HTTP library under openai has changed before
            raise ValueError(f"chat_api: base_url: no connection to {where} ({why}); is the server running?") from None
        why = f"the connection was cut ({why}), tried {server.retries + 1} times"
        raise NoReplyError(why, perhaps_paid=True) from None
    except openai.OpenAIError as error:
        raise NoReplyError(line(server.without_key(str(error)))) from None


def arguments(asked: dict[str, Any], mode: str) -> dict[str, Any]:
    """The body of a chat-completions request."""
    body: dict[str, Any] = {"model": asked["model"], "messages": asked["messages"]}
    if asked["temperature"] is not None:
        body["temperature"] = asked["temperature"]
    if mode == "json_schema":
        form = {"name": "motion", "strict": True, "schema": asked["schema"]}
        body["response_format"] = {"type": "json_schema", "json_schema": form}
    elif mode == "json_object":
        body["response_format"] = {"type": "json_object"}
    return body


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
        raise ValueError(f"the model refused ({line(str(refusal))})")
    if choice.get("finish_reason") == "length":
        raise ValueError("the answer was cut off at the server's limit of tokens")
    if not isinstance(content, str):
        raise ValueError("the reply has no text")
    if not content.strip():
        raise ValueError("the answer is empty")
    return model, content


def said(body: str) -> str | None:
    """Whatever the model said, a refusal or half an answer too; None if the body is no chat completion."""
    try:
        message = json.loads(body)["choices"][0]["message"]
        return message.get("content") or message.get("refusal") or ""
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def usage(body: str) -> Tokens | None:
    """The tokens that the server says a reply took; None if it does not say."""
    try:
        used = json.loads(body)["usage"]
        return Tokens(int(used["prompt_tokens"]), int(used["completion_tokens"]))
    except (ValueError, LookupError, TypeError):
        return None


def line(text: str) -> str:
    """A server's message on one line, cut to 300 characters."""
    return " ".join(text.split())[:300]
