"""The answer of a language model about one class: its JSON schema, and its sentences."""

import json
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from kinetext.texts.positions import with_positions

About = Literal["motion", "appearance"]

Sentence = Annotated[str, StringConstraints(strip_whitespace=True)]


class Appearance(BaseModel):
    """An answer that describes what a class looks like."""

    model_config = ConfigDict(strict=True)

    whole: list[Sentence] = Field(min_length=1, description="what a single still picture shows, a sentence each")


class Motion(BaseModel):
    """An answer that describes how a class moves."""

    model_config = ConfigDict(strict=True)

    start: Sentence = Field(description="what can be seen at the first moment")
    steps: list[Sentence] = Field([], description="what can be seen in between, a sentence each, in temporal order")
    end: Sentence = Field(description="what can be seen at the last moment")
    whole: list[Sentence] = Field(min_length=1, description="the whole movement, a sentence each")


MODELS: dict[About, type[BaseModel]] = {"motion": Motion, "appearance": Appearance}


def schema(about: About, steps: int = 0) -> dict[str, Any]:
    """Return the JSON schema that is sent with a request, in the subset of OpenAI's strict mode.

    Without `steps` the answer has no such key.
    """
    full = MODELS[about].model_json_schema()
    kept = ("type", "items", "description")
    properties = {
        name: {key: value for key, value in field.items() if key in kept}
        for name, field in full["properties"].items()
        if steps or name != "steps"
    }
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def pair_schema(steps: int) -> dict[str, Any]:
    """Return the JSON schema of an answer about two classes."""
    properties = {part: schema("motion", steps) for part in ("first", "second")}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def parse_pair(content: str, part: str) -> list[tuple[float | None, str]]:
    """Return the sentences about the class `part`, first or second, of an answer about two classes.

    Raises ValueError as `parse_answer`.
    """
    answer = _object(content)
    if part not in answer:
        raise ValueError(f"the answer has no '{part}'")
    if not isinstance(answer[part], dict):
        raise ValueError(f"'{part}' in the answer is not an object")
    return _sentences(answer[part], "motion", 0)


def parse_answer(content: str, about: About = "motion", steps: int = 0) -> list[tuple[float | None, str]]:
    """Return the sentences of an answer as pairs (position, sentence), without surrounding blanks.

    Sentences about appearance get the positions of an answer about motion with `steps` steps, in that order, so that
    this control has the form of what it controls.

    An answer is one JSON object, bare, in a list, or in a code fence that may have text around it. The `<think>` block
    of a reasoning model is skipped. Raises ValueError that names the fault. The message is sent with a correction
    (prompts.correction), so changing its wording would repeat the paid requests for corrections.
    """
    return _sentences(_object(content), about, steps)


def _object(content: str) -> dict[str, Any]:
    """Return the JSON object of an answer. Raises ValueError if there is none."""
    value = first_json(content)
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        value = value[0]
    if not isinstance(value, dict):
        raise ValueError(f"the answer is a JSON {type(value).__name__}, not an object")
    return value


def _sentences(value: dict[str, Any], about: About, steps: int) -> list[tuple[float | None, str]]:
    """Return the sentences of the object of one class with their positions. Raises ValueError for a missing part."""
    try:
        answer = MODELS[about].model_validate(value).model_dump()
    except ValidationError as error:
        first = error.errors()[0]
        key = first["loc"][0]
        if first["type"] == "missing":
            raise ValueError(f"the answer has no '{key}'") from None
        expected = "a list of sentences" if key in ("whole", "steps") else "a sentence"
        raise ValueError(f"'{key}' in the answer is not {expected}") from None
    if about == "motion":
        return with_positions([answer["start"]], answer["steps"], [answer["end"]], answer["whole"])
    whole = answer["whole"]
    return with_positions(whole[:1], whole[1 : 1 + steps], whole[1 + steps : 2 + steps], whole[2 + steps :])


def first_json(content: str) -> Any:
    """Return the JSON value of the content, of the text after a `<think>` block, or of a code fence in that text.

    Raises ValueError if none of them is JSON.
    """
    text = _strip(content)
    if text.startswith("<think>") and "</think>" not in text:
        raise ValueError("the answer was cut off inside its <think> block")
    answer = _strip(text.rpartition("</think>")[2])  # some servers leave out the opening tag
    fences = re.findall(r"```\w*(.*?)(?:```|$)", answer, re.DOTALL)
    errors = []
    for candidate in (answer, text, *map(_strip, fences)):
        try:
            return json.loads(candidate)
        except json.JSONDecodeError as error:
            errors.append(error)
    raise ValueError(f"the answer is not JSON ({errors[0].msg} at character {errors[0].pos})")


def _strip(text: str) -> str:
    """Remove blanks and byte order marks at both ends."""
    return text.strip().strip("\ufeff").strip()
