"""A chat completion: what a server replies to a request."""

from typing import Any

from pydantic import BaseModel, Field, ValidationError

from kinetext.texts.chat.limits import Tokens


class Message(BaseModel):
    """What the model said."""

    content: str | None = None
    refusal: str | None = None


class Choice(BaseModel):
    """One answer."""

    message: Message
    finish_reason: str | None = None


class Usage(BaseModel):
    """Token counts."""

    prompt_tokens: int
    completion_tokens: int


class Completion(BaseModel):
    """A reply; parts that are not listed here are ignored."""

    model: str
    choices: list[Choice] = Field(min_length=1)
    usage: Any = None  # an unreadable count does not make the answer unreadable

    @property
    def text(self) -> str:
        """All that the model said, including a refusal or half an answer."""
        message = self.choices[0].message
        return message.content or message.refusal or ""

    @property
    def tokens(self) -> Tokens | None:
        """The token counts of the server; None if it states none."""
        try:
            usage = Usage.model_validate(self.usage)
        except ValidationError:
            return None
        return Tokens(usage.prompt_tokens, usage.completion_tokens)

    def answer(self) -> str:
        """Return the text of a complete answer. Raises ValueError for a refusal, half an answer or none."""
        choice = self.choices[0]
        if choice.message.refusal:
            raise ValueError(f"the model refused ({one_line(choice.message.refusal)})")
        if choice.finish_reason == "length":
            raise ValueError("the answer was cut off at the server's limit of tokens")
        if choice.message.content is None:
            raise ValueError("the reply has no text")
        if not choice.message.content.strip():
            raise ValueError("the answer is empty")
        return choice.message.content


def read_completion(body: str) -> Completion:
    """Return the completion in the raw body of a reply. Raises ValueError if there is none."""
    try:
        return Completion.model_validate_json(body)
    except ValidationError:
        raise ValueError("the reply is no chat completion") from None


def one_line(text: str) -> str:
    """Return a server's message on one line, cut to 300 characters."""
    return " ".join(text.split())[:300]
