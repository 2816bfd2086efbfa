"""The request that is sent to a language model for one class, and the answer that is expected.

After MoTED (CVPR 2024): easily confused classes are compared and described by their movement. The wording is ours. It
asks for the state at the start and at the end as well, because these two sentences do most of the work where only the
order of the frames tells two classes apart (reference/demo.md 4). Rivals are never to be named: an image-text model
does not understand "unlike jumping", it sees jumping.

`VERSION` is part of every request's hash: raise it with every change of the wording.
"""

import json
from typing import Any

VERSION = "motion-1"

ANSWER_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "start": {"type": "string", "description": "what can be seen at the first moment"},
        "end": {"type": "string", "description": "what can be seen at the last moment"},
        "whole": {"type": "array", "items": {"type": "string"}, "description": "the whole movement, a sentence each"},
    },
    "required": ["start", "end", "whole"],
    "additionalProperties": False,
}

_REQUEST = """\
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


def messages(label: str, rivals: list[str], sentences: int) -> list[dict[str, str]]:
    """The chat messages for one class. One user message, because not every model's template has a system role."""
    quoted = [json.dumps(rival, ensure_ascii=False) for rival in rivals]
    request = _REQUEST.format(
        label=json.dumps(label, ensure_ascii=False),
        rivals=f"It is easily mistaken for: {', '.join(quoted)}" if rivals else "No class is known to resemble it.",
        contrast=(
            "Choose what is seen in this class and not in those that it is mistaken for, but do not name or mention "
            'those, not even with a negation such as "unlike" or "without".'
            if rivals
            else "Choose what makes the movement unmistakable."
        ),
        whole=", ".join(['"..."'] * sentences),
        sentences="one sentence" if sentences == 1 else f"{sentences} sentences",
    )
    return [{"role": "user", "content": request}]


def parse_answer(content: str) -> dict[str, Any]:
    """The answer as {"start": str, "end": str, "whole": [str, ...]}, sentences stripped of blanks at their ends.

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
    missing = [key for key in ANSWER_SCHEMA["required"] if key not in answer]
    if missing:
        raise ValueError(f"the answer has no '{missing[0]}'")
    whole = answer["whole"]
    if not isinstance(whole, list) or not whole or not all(isinstance(s, str) for s in whole):
        raise ValueError("'whole' in the answer is not a list of sentences")
    for key in ("start", "end"):
        if not isinstance(answer[key], str):
            raise ValueError(f"'{key}' in the answer is not a sentence")
    return {"start": answer["start"].strip(), "end": answer["end"].strip(), "whole": [s.strip() for s in whole]}
