"""A chat completion: what a server replies to a request."""

import json
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from kinetext.texts.chat.limits import Tokens


class Part(BaseModel):
    """One part of a message whose content is a list."""

    text: str | None = None
    refusal: str | None = None


class Message(BaseModel):
    """The message of the model, in the forms that different servers use."""

    content: str | list[str | Part] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None  # of thinking models; some servers put the answer there
    tool_calls: Any = None  # some servers return structured output as the arguments of a tool call

    @property
    def parts(self) -> list[Part]:
        """The content of the message as a list of parts."""
        content = self.content if isinstance(self.content, list) else [self.content]
        return [part if isinstance(part, Part) else Part(text=part) for part in content]

    @property
    def text(self) -> str | None:
        """The text of the answer; None if the message has none."""
        texts = [part.text for part in self.parts if part.text is not None]
        text = "".join(texts) if texts else None
        return text if text and text.strip() else self._tool_arguments or self.reasoning_content or text

    @property
    def refusal_text(self) -> str | None:
        """The text with which the model refused; None without a refusal."""
        return self.refusal or next((part.refusal for part in self.parts if part.refusal), None)

    @property
    def _tool_arguments(self) -> str | None:
        try:
            arguments = self.tool_calls[0]["function"]["arguments"]
        except (LookupError, TypeError):
            return None
        return arguments if isinstance(arguments, str) else json.dumps(arguments)


class Choice(BaseModel):
    """One of the answers of a completion."""

    message: Message
    finish_reason: str | None = None


class Usage(BaseModel):
    """The token counts of a completion."""

    prompt_tokens: int
    completion_tokens: int


class Completion(BaseModel):
    """The reply of a server. Fields that are not listed here are ignored."""

    model: str | None = None
    choices: list[Choice] = Field(min_length=1)
    usage: Any = None  # an unreadable count does not make the answer unreadable

    @property
    def text(self) -> str:
        """The text of the model, including a refusal or an incomplete answer."""
        message = self.choices[0].message
        return message.text or message.refusal_text or ""

    @property
    def tokens(self) -> Tokens | None:
        """The token counts of the server; None if it sends none."""
        try:
            usage = Usage.model_validate(self.usage)
        except ValidationError:
            return None
        return Tokens(usage.prompt_tokens, usage.completion_tokens)

    def answer(self) -> str:
        """Return the text of a complete answer. Raises ValueError for a refusal, an incomplete answer, or none."""
        choice = self.choices[0]
        text, refusal = choice.message.text, choice.message.refusal_text
        if refusal:
            raise ValueError(f"the model refused ({one_line(refusal)})")
        if choice.finish_reason == "length":
            raise ValueError("the answer was cut off at the server's limit of tokens")
        if text is None:
            raise ValueError("the reply has no text")
        if not text.strip():
            raise ValueError("the answer is empty")
        return text


def read_completion(body: str) -> Completion:
    """Return the completion in the raw body of a reply. Raises ValueError if there is none."""
    try:
        return Completion.model_validate_json(body)
    except ValidationError:
        raise ValueError(f"the reply is no chat completion ({_describe(body)})") from None


def error_status(body: str) -> int:
    """Return the code of an error that a server sends as a successful reply, 0 if there is none."""
    try:
        return int(json.loads(body)["error"]["code"])
    except (ValueError, LookupError, TypeError):
        return 0


def _describe(body: str) -> str:
    """Return the server's error message, or the start of the body."""
    try:
        error = json.loads(body)["error"]
        return f"error: {one_line(str(error['message'] if isinstance(error, dict) else error))}"
    except (ValueError, LookupError, TypeError):
        kind = "server-sent events; " if body.startswith("data:") else ""
        return f"{kind}it begins with '{one_line(body)[:100]}'" if body.strip() else "it is empty"


def one_line(text: str) -> str:
    """Return a server's message on one line, cut to 300 characters."""
    return " ".join(text.split())[:300]
