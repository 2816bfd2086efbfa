"""A chat completion: what a server replies to a request."""

import json
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from kinetext.texts.chat.limits import Tokens


class Part(BaseModel):
    """One element of a message's content, if the content is a list."""

    text: str | None = None
    refusal: str | None = None


class Message(BaseModel):
    """The message of the model, with the fields that different servers use."""

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
        """The answer; None if the message has none. Some servers put it into a tool call or into the reasoning."""
        texts = [part.text for part in self.parts if part.text is not None]
        text = "".join(texts) if texts else None
        return text if text and text.strip() else self._tool_arguments or self.reasoning_content or text

    @property
    def refusal_text(self) -> str | None:
        """The text of a refusal; None if the model did not refuse."""
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
        """The text of the model, even if it is a refusal or an incomplete answer."""
        message = self.choices[0].message
        return message.text or message.refusal_text or ""

    @property
    def tokens(self) -> Tokens | None:
        """The token counts that the server states; None if it states none."""
        try:
            usage = Usage.model_validate(self.usage)
        except ValidationError:
            return None
        return Tokens(usage.prompt_tokens, usage.completion_tokens)

    def answer(self) -> str:
        """Return the text of a complete answer.

        Raises ValueError if the model refused, or if the answer is incomplete, empty or missing.
        """
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
    """Parse the raw body of a reply as a chat completion. Raises ValueError if it is none."""
    try:
        return Completion.model_validate_json(body)
    except ValidationError:
        raise ValueError(f"the reply is no chat completion ({_describe(body)})") from None


def error_status(body: str) -> int:
    """Return the code of an error that a server sent with status 200; 0 if the body has none."""
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
    """Return a message on one line, cut to 300 characters."""
    return " ".join(text.split())[:300]
