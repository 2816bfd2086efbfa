"""Send requests to a chat-completions server. Only this module, negotiation.py, batch.py and probe.py import openai.

The key is read from the environment when a client is created and stays in that client. It is removed from everything
that a server sends back, and exceptions of the library, which may contain it, never leave this module.
"""

import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any

from kinetext.core import detached
from kinetext.texts.chat.completion import error_status, one_line, read_completion
from kinetext.texts.chat.limits import NoReplyError

MAX_REPLY_BYTES = 16 * 2**20  # an answer has a few kB, with a long chain of thought a few hundred

_client_lock = Lock()


@dataclass(frozen=True)
class Server:
    """A chat-completions server with its key variable, time limit and number of retries."""

    base_url: str
    key_env: str
    timeout_s: float
    retries: int
    needs_key: bool  # OpenAI; other servers are tried without one
    user: str = "chat_api"  # who asks, in messages

    def key(self) -> str:
        """Return the key from the environment, or "none" if the server needs no key.

        Raises ValueError, without the key in its message, if the key is missing or malformed.
        """
        key = os.environ.get(self.key_env, "").strip()
        if not key and not self.needs_key:
            return "none"
        if not key:
            raise ValueError(
                f"{self.user}: no key in the environment variable {self.key_env} and no cached reply; set the variable, "
                f"or {self._without_a_server()} (or a results/cache that holds the replies), or set base_url to a local "
                "server such as vLLM or Ollama, which needs no key"
            )
        if not re.fullmatch(r"[!-~]+", key):  # the HTTP library would print it in its exception
            raise ValueError(
                f"{self.user}: the key in {self.key_env} contains a blank or a non-ASCII character; set it again"
            )
        return key

    def _without_a_server(self) -> str:
        is_of_texts = self.user == "chat_api"
        return "use texts without a server, modules bundled or names" if is_of_texts else "take this method out"

    def redact(self, text: str) -> str:
        """Return a text without the key, which some servers repeat in their replies.

        Keys of fewer than 8 characters stay: they are placeholders for local servers, and could be part of any word.
        """
        key = os.environ.get(self.key_env, "").strip()
        return text.replace(key, "***") if len(key) >= 8 else text

    def client(self) -> Any:
        """Return the openai.OpenAI client of this server. All threads share it, so that connections are reused."""
        key = self.key()
        with _client_lock:  # or threads that start together would create one each
            return _client(self, key)


@cache
def _client(server: Server, key: str) -> Any:
    import openai

    for library in ("openai", "httpcore2"):  # at DEBUG they log what a server sends, which may be the key
        logger = logging.getLogger(library)
        logger.setLevel(max(logger.level, logging.INFO))
    # before each try, including openai's own retries: nothing is sent once the command is gone
    hooks = {"request": [lambda _: detached.raise_if_stopping()], "response": [_cap_reply]}
    http = openai.DefaultHttpxClient(event_hooks=hooks, headers={"Accept-Encoding": "identity"})
    limits: dict[str, Any] = {"timeout": server.timeout_s, "max_retries": server.retries}
    return openai.OpenAI(api_key=key, base_url=server.base_url, http_client=http, **limits)


def _cap_reply(response: Any) -> None:
    """Make reading a reply raise an exception after MAX_REPLY_BYTES. The output of a batch may be longer."""
    import openai

    if response.request.url.path.endswith("/content"):
        return
    library = sys.modules[type(response).__module__.partition(".")[0]]  # httpx, or what openai uses in its place

    class Capped(library.SyncByteStream):  # type: ignore[misc, name-defined]
        def __init__(self, stream: Any):
            self.stream = stream

        def __iter__(self) -> Iterator[bytes]:
            received = 0
            for chunk in self.stream:
                received += len(chunk)
                if received > MAX_REPLY_BYTES:  # openai neither retries nor wraps its own exceptions
                    raise openai.OpenAIError(f"the reply is longer than {MAX_REPLY_BYTES / 2**20:g} MiB")
                yield chunk

        def close(self) -> None:
            self.stream.close()

    response.stream = Capped(response.stream)


def post(server: Server, body: dict[str, Any], retries: int) -> str:
    """Post a chat-completions request; return the raw body of the completion without the key.

    openai's client retries after time-outs, cut connections, status 429 and 5xx. It waits as long as Retry-After states
    (up to two minutes), otherwise 0.5 s, doubled at each retry (up to 8 s). Errors that a server sends with status 200
    are retried likewise. Raises openai's exceptions, and NoReplyError if the reply is no chat completion.
    """
    client = server.client()
    if retries != server.retries:
        client = client.with_options(max_retries=retries)
    for tries in range(retries + 1):
        # chat.completions.create spends a third of its time on checking its arguments
        reply = server.redact(client.post("/chat/completions", cast_to=str, body=body))
        try:
            read_completion(reply)
            return reply
        except ValueError as error:
            status = error_status(reply)
            if tries == retries or not (status == 429 or status >= 500):
                raise NoReplyError(str(error), maybe_charged=status == 0) from None
        detached.sleep(min(0.5 * 2**tries, 8.0))
    raise AssertionError("unreachable")


@contextmanager
def translated_errors(server: Server, model: str) -> Iterator[None]:
    """Translate openai's exceptions into ValueError (no request can succeed) or NoReplyError (this one failed)."""
    import openai

    url = server.base_url
    try:
        yield
    except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
        message = one_line(server.redact(str(error)))
        if not os.environ.get(server.key_env, "").strip():
            raise ValueError(f"{server.user}: {url} needs a key; export {server.key_env}=YOUR_KEY: {message}") from None
        raise ValueError(f"{server.user}: {url} refuses the key in {server.key_env}: {message}") from None
    except openai.NotFoundError as error:
        message = one_line(server.redact(str(error)))
        raise ValueError(f"{server.user}: {url} has no model '{model}': {message}") from None
    except openai.APITimeoutError:
        message = f"no reply within {server.timeout_s:g} s, tried {server.retries + 1} times"
        raise NoReplyError(message, maybe_charged=True) from None
    except openai.APIConnectionError as error:
        cause = error.__cause__ or error
        message = one_line(server.redact(str(cause)))
        if type(cause).__name__ == "ConnectError":  # by name, because the HTTP library under openai has changed before
            raise ValueError(
                f"{server.user}: base_url: no connection to {url} ({message}); is the server running?"
            ) from None
        message = f"the connection was cut ({message}), tried {server.retries + 1} times"
        raise NoReplyError(message, maybe_charged=True) from None
    except openai.OpenAIError as error:
        charged = not isinstance(error, openai.APIError)  # a reply that is too long
        raise NoReplyError(one_line(server.redact(str(error))), maybe_charged=charged) from None
