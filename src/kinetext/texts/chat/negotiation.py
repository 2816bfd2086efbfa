"""Send requests in the strictest form that a server accepts.

A form is JSON schema, JSON mode or plain text, each with or without a temperature. The first request tries the forms;
the others wait for it and use the form that was accepted.
"""

import base64
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

from kinetext.texts.chat.client import Server, post, translated_errors
from kinetext.texts.chat.completion import one_line

MODES = ("json_schema", "json_object", "text")  # forms of answer, the strictest first
REFUSALS = (
    400,
    422,
    500,
    501,
)  # statuses for a request that a server does not understand; llama-cpp-python answers 500
Images = Mapping[str, bytes]  # hash of an image, as in the request -> its JPEG file
NO_IMAGES: Images = {}


@dataclass(frozen=True)
class Form:
    """The optional parts of a request: the answer format (one of MODES), and whether a temperature is sent."""

    mode: str
    with_temperature: bool


class Negotiation:
    """The form of request that a server accepts. It is found with the first request and used for all others."""

    def __init__(self, server: Server):
        self.server = server
        self.form: Form | None = None  # the accepted form, once known
        self._refused: list[str] = []  # messages for requests that were refused in every form
        self._lock = Lock()

    def send(self, request: dict[str, Any], images: Images = NO_IMAGES) -> dict[str, Any]:
        """Send a request with its images (see `request_body`); return the fields of its cache record: `reply` (the raw body) and `mode`.

        If the server refused a temperature, the field `dropped` names it. Raises NoReplyError if there is no reply to
        this request. Raises ValueError if the requests of all other classes would fail too, for instance after two
        requests were refused in every form.
        """
        preferred = Form("json_schema" if request["schema"] else "text", request["temperature"] is not None)
        with translated_errors(self.server, request["model"]):
            if self.form is None:
                with self._lock:
                    if self.form is None:
                        self.form, reply = self._probe(request, preferred, images)
                        self._print_difference(request["model"], preferred)
                        return _record(self.form, preferred, reply)
            reply = post(self.server, request_body(request, self.form, images), self.server.retries)
            return _record(self.form, preferred, reply)

    def _probe(self, request: dict[str, Any], preferred: Form, images: Images) -> tuple[Form, str]:
        """Send a request in one form after another, the preferred form first; return the accepted form and the reply.

        Raises ValueError if two requests were refused in every form.
        """
        import openai

        with_temperature = preferred.with_temperature
        modes = list(MODES[MODES.index(preferred.mode) :])
        while len(self._refused) < 2:  # a single class may be refused for its content
            form = Form(modes[0], with_temperature)
            retries = self.server.retries if len(modes) == 1 else min(self.server.retries, 1)
            try:
                return form, post(self.server, request_body(request, form, images), retries)
            except openai.APIStatusError as error:
                if error.status_code not in REFUSALS:
                    raise
                message = one_line(self.server.redact(str(error)))
                if with_temperature and error.status_code < 500 and "temperature" in message.lower():
                    with_temperature = False  # o-series and gpt-5 take none
                elif len(modes) > 1:
                    modes.pop(0)
                else:
                    self._refused.append(message)
                    if len(self._refused) < 2:
                        raise
        raise ValueError(
            f"{self.server.user}: {self.server.base_url} refuses every request in every form: {self._refused[-1]}"
        )

    def _print_difference(self, model: str, preferred: Form) -> None:
        assert self.form
        differences = [f"{self.form.mode} instead of {preferred.mode}"] if self.form.mode != preferred.mode else []
        if self.form.with_temperature != preferred.with_temperature:
            differences.append("no temperature (temperature: null requests the same)")
        if differences:
            message = f"{self.server.base_url} accepts for {model}: {', '.join(differences)}"
            print(f"{self.server.user}: {message}", file=sys.stderr)


def request_body(request: dict[str, Any], form: Form, images: Images = NO_IMAGES) -> dict[str, Any]:
    """Return the body of a chat-completions request in this form.

    A request names each image by a hash, so that cached requests stay small and hold no video. `images` maps the
    hashes to JPEG files, which are sent as data URLs.
    """
    body: dict[str, Any] = {"model": request["model"], "messages": _with_images(request["messages"], images)}
    if form.with_temperature and request["temperature"] is not None:
        body["temperature"] = request["temperature"]
    if form.mode == "json_schema":
        json_schema = {"name": request.get("schema_name", "motion"), "strict": True, "schema": request["schema"]}
        body["response_format"] = {"type": "json_schema", "json_schema": json_schema}
    elif form.mode == "json_object":
        body["response_format"] = {"type": "json_object"}
    return body


def _with_images(messages: list[dict[str, Any]], images: Images) -> list[dict[str, Any]]:
    """Return the messages with the data of the images in place of their hashes."""
    if not images:
        return messages
    filled = []
    for message in messages:
        content = message["content"]
        if isinstance(content, list):
            content = [_with_data(part, images) if part["type"] == "image_url" else part for part in content]
        filled.append({**message, "content": content})
    return filled


def _with_data(part: dict[str, Any], images: Images) -> dict[str, Any]:
    jpeg = images[part["image_url"]["url"]]
    url = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
    return {**part, "image_url": {**part["image_url"], "url": url}}


def _record(form: Form, preferred: Form, reply: str) -> dict[str, Any]:
    dropped = {"dropped": ["temperature"]} if form.with_temperature != preferred.with_temperature else {}
    return {"mode": form.mode, **dropped, "reply": reply}
