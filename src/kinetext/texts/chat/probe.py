"""Test a chat-completions server with a request that costs nothing: its list of models."""

import json
from typing import Any

from kinetext.texts.chat.client import Server, translated_errors
from kinetext.texts.chat.limits import NoReplyError

TIMEOUT_S = 10.0


def probe_server(server: Server, model: str) -> str | None:
    """Request the list of models; return one sentence that says what is wrong, or None if nothing is.

    Only OpenAI's list must contain `model`. Other servers may have no list, or list names that differ from those they
    accept.
    """
    import openai

    try:
        with translated_errors(server, model):
            client = server.client().with_options(max_retries=0, timeout=TIMEOUT_S)
            try:
                reply = client.get("/models", cast_to=str)
            except openai.APIStatusError as error:
                if error.status_code in (400, 403, 404, 405, 501):  # no such list, or a key that may not read it
                    return None
                raise
            except openai.APITimeoutError:
                return f"{server.base_url} does not answer within {TIMEOUT_S:g} s; is it overloaded?"
    except ValueError as error:
        return str(error).removeprefix(f"{server.user}: ").removeprefix("base_url: ")
    except NoReplyError as error:
        return f"{server.base_url} does not answer ({error})"
    names = model_names(reply)
    if names and model not in names and server.needs_key:
        return f"{server.base_url} has no model '{model}' for this key; see its list of models"
    return None


def model_names(reply: str) -> set[str]:
    """Return the ids in the body of a reply with a list of models; an empty set if the body is no such list."""
    try:
        listed: Any = json.loads(reply)
        return {str(entry["id"]) for entry in listed["data"]}
    except (ValueError, KeyError, TypeError):
        return set()
