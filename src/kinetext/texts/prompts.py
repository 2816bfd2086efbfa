"""The request that is sent to a language model for one class, and the answer that is expected.

After MoTED (CVPR 2024): easily confused classes are compared and described by their movement. The wording is ours. It
asks for the state at the start and at the end as well, because these two sentences do most of the work where only the
order of the frames tells two classes apart (reference/demo.md 4). Rivals are never to be named: an image-text model
does not understand "unlike jumping", it sees jumping. `appearance` is the control: what one still picture shows,
and nothing of movement.

`VERSIONS` are part of every request's hash: raise one with every change of its wording. A correction has a version of
its own, so that changing its wording does not have every class asked for again.
"""

import json
from typing import Any, Literal

About = Literal["motion", "appearance"]

VERSIONS = {"motion": "motion-1", "appearance": "appearance-1", "correction": "correction-1"}

_WHOLE = {"type": "array", "items": {"type": "string"}}
ANSWER_SCHEMAS: dict[About, dict[str, Any]] = {
    "motion": {
        "type": "object",
        "properties": {
            "start": {"type": "string", "description": "what can be seen at the first moment"},
            "end": {"type": "string", "description": "what can be seen at the last moment"},
            "whole": _WHOLE | {"description": "the whole movement, a sentence each"},
        },
        "required": ["start", "end", "whole"],
        "additionalProperties": False,
    },
    "appearance": {
        "type": "object",
        "properties": {"whole": _WHOLE | {"description": "what a single still picture shows, a sentence each"}},
        "required": ["whole"],
        "additionalProperties": False,
    },
}

_MOTION = """\
Short video clips are sorted into classes by how things move in them.

Class: {label}
{rivals}

Describe the movement in a clip of this class. Say which body part or which part of an object moves, in which order, \
in which direction and how fast, what touches what, and how the state at the end differs from the state at the start. \
{contrast}
Write only what can be seen in the clip. Leave out the scene, the background, clothing, colours, the camera and who \
the people are. Do not write about thoughts, purposes or preparations.

Answer with one JSON object and nothing else:
{{"start": "...", "end": "...", "whole": [{whole}]}}
start: one sentence, what can be seen at the first moment.
end: one sentence, what can be seen at the last moment.
whole: {sentences}, each about the whole movement from start to end, each saying something different.
Each sentence is plain English of at most 25 words, without numbering, quotation marks or line breaks."""

_APPEARANCE = """\
Short video clips are sorted into classes. Of each clip only one still picture is left, taken at a random moment.

Class: {label}
{rivals}

Describe what a still picture of this class shows: which objects there are, their shape, size, colour and material, \
how many people and what they wear and hold, the place and the background. {contrast}
Write only what can be seen in a single picture. Leave out every movement and change: nothing moves, starts, ends, \
comes before or follows. Do not write about thoughts, purposes or preparations.

Answer with one JSON object and nothing else:
{{"whole": [{whole}]}}
whole: {sentences}, each about the picture, each saying something different.
Each sentence is plain English of at most 25 words, without numbering, quotation marks or line breaks."""

_CORRECTION = """\
Your answer cannot be used as it is:
{faults}

Answer again with one complete JSON object of the same form and nothing else. Mend these faults and leave all other \
sentences as they are. Do not name any other class."""


def messages(label: str, rivals: list[str], sentences: int, about: About = "motion") -> list[dict[str, str]]:
    """The chat messages for one class. One user message, because not every model's template has a system role.

    `sentences` is how many there are to be of `whole`.
    """
    quoted = [json.dumps(rival, ensure_ascii=False) for rival in rivals]
    request = (_MOTION if about == "motion" else _APPEARANCE).format(
        label=json.dumps(label, ensure_ascii=False),
        rivals=f"It is easily mistaken for: {', '.join(quoted)}" if rivals else "No class is known to resemble it.",
        contrast=(
            "Choose what is seen in this class and not in those that it is mistaken for, but do not name or mention "
            'those, not even with a negation such as "unlike" or "without".'
            if rivals
            else f"Choose what makes the {'movement' if about == 'motion' else 'picture'} unmistakable."
        ),
        whole=", ".join(['"..."'] * sentences),
        sentences="one sentence" if sentences == 1 else f"{sentences} sentences",
    )
    return [{"role": "user", "content": request}]


def correction(asked: list[dict[str, str]], answer: str, faults: list[str]) -> list[dict[str, str]]:
    """The conversation so far, with the model's answer and what is wrong with it, each fault a line."""
    request = _CORRECTION.format(faults="\n".join(f"- {fault}" for fault in faults))
    return [*asked, {"role": "assistant", "content": answer}, {"role": "user", "content": request}]


def parse_answer(content: str, about: About = "motion") -> dict[str, Any]:
    """The answer as {"start": str, "end": str, "whole": [str, ...]}, sentences stripped of blanks at their ends; of an
    appearance, "whole" alone.

    One JSON object, bare or in one code fence, nothing before or after it. Raises ValueError that says what is wrong.
    """
    text = content.strip()
    if text.startswith("```") and text.endswith("```"):
        text = text.removeprefix("```").removeprefix("json").removesuffix("```")
    try:
        answer = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"the answer is not JSON ({error.msg} at character {error.pos})") from None
    if not isinstance(answer, dict):
        raise ValueError(f"the answer is a JSON {type(answer).__name__}, not an object")
    keys = ANSWER_SCHEMAS[about]["required"]
    missing = [key for key in keys if key not in answer]
    if missing:
        raise ValueError(f"the answer has no '{missing[0]}'")
    whole = answer["whole"]
    if not isinstance(whole, list) or not whole or not all(isinstance(s, str) for s in whole):
        raise ValueError("'whole' in the answer is not a list of sentences")
    single = [key for key in keys if key != "whole"]
    for key in single:
        if not isinstance(answer[key], str):
            raise ValueError(f"'{key}' in the answer is not a sentence")
    return {key: answer[key].strip() for key in single} | {"whole": [sentence.strip() for sentence in whole]}
