"""The request about a clip, and the choices that an answer names.

`VERSION` is part of every request's hash. Increase it whenever the wording changes.
"""

import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kinetext.methods.frames import Choice, Question
from kinetext.texts.answers import first_json
from kinetext.texts.chat.images import image_parts

VERSION = "video-1"

_TASK = """\
The pictures are frames of one short video clip, in the order of time. Choose what happens in the clip from this list:

{choices}

Watch how things move from picture to picture: the direction and the order decide between choices that look alike.
Answer with one JSON object and nothing else: {{"choices": [{numbers}]}}
choices: {what}."""


def ask(
    frames_TCHW: Tensor, question: Question, order_K: Sequence[int], config: Any
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the request about a clip, and its images: hash -> JPEG file.

    `order_K` has the indices of the choices in list order, `config` the options of VideoLLM. The first example, or the
    clip itself, is in the first message, because some chat templates need alternating roles.
    """
    images: dict[str, bytes] = {}
    number_of = {index: number for number, index in enumerate(order_K, start=1)}
    content: list[dict[str, Any]] = [{"type": "text", "text": _task([question.choices[k] for k in order_K], config)}]
    messages: list[dict[str, Any]] = []
    for example in question.examples:
        parts = _image_parts(example.frames_TCHW, config, images)
        messages.append({"role": "user", "content": [*content, *parts]})
        messages.append({"role": "assistant", "content": json.dumps({"choices": [number_of[example.index]]})})
        content = [{"type": "text", "text": "Another clip, with the same list and the same form of answer:"}]
    messages.append({"role": "user", "content": [*content, *_image_parts(frames_TCHW, config, images)]})
    request = {
        "base_url": config.server.base_url,
        "model": config.model,
        "temperature": config.temperature,
        "messages": messages,
        "schema": schema() if config.structured else None,
        "schema_name": "clip",
        "prompt_version": VERSION,
    }
    return request, images


def schema() -> dict[str, Any]:
    """Return the JSON schema of an answer, in the subset of OpenAI's strict mode."""
    numbers = {"type": "array", "items": {"type": "integer"}, "description": "numbers of the best choices, best first"}
    return {
        "type": "object",
        "properties": {"choices": numbers},
        "required": ["choices"],
        "additionalProperties": False,
    }


def read_choices(content: str, texts: Sequence[str]) -> list[int]:
    """Return the positions in the list that an answer names, best first, each once.

    `texts` are the choices in the order of the list. A choice is named by its number or, by models that ignore the
    schema, by its text. Choices after the first that are not in the list are left out. Raises ValueError if the answer
    has no choice, or if its first choice is not in the list.
    """
    value = first_json(content)
    if isinstance(value, dict):
        if "choices" not in value and len(value) != 1:
            raise ValueError("the answer has no 'choices'")
        value = value.get("choices", next(iter(value.values()), None))
    named = value if isinstance(value, list) else [value]
    position_of = {_plain(text): position for position, text in reversed(list(enumerate(texts)))}
    positions: list[int] = []
    for entry in named:
        position = _position(entry, len(texts), position_of)
        if position is None and not positions:
            raise ValueError(f"{json.dumps(entry, ensure_ascii=False)[:80]} is not in the list of choices")
        if position is not None and position not in positions:
            positions.append(position)
    if not positions:
        raise ValueError("the answer names no choice")
    return positions


def _position(entry: Any, num_choices: int, position_of: dict[str, int]) -> int | None:
    """Return the position that a number, or the text of a choice, names; None if it names none."""
    if isinstance(entry, str):
        start = entry.strip().partition(".")[0].strip()
        if _plain(entry) in position_of:
            return position_of[_plain(entry)]
        if not (start.isascii() and start.isdigit() and len(start) < 10):
            return None
        entry = int(start)
    if isinstance(entry, float) and entry.is_integer():
        entry = int(entry)
    is_number = isinstance(entry, int) and not isinstance(entry, bool)
    return entry - 1 if is_number and 1 <= entry <= num_choices else None


def _task(choices: Sequence[Choice], config: Any) -> str:
    lines = []
    for number, choice in enumerate(choices, start=1):
        described = "; ".join(_one_line(sentence) for sentence in choice.descriptions[: config.descriptions])
        lines.append(f"{number}. {_one_line(choice.text)}" + (f": {described}" if described else ""))
    ranked = min(config.ranked, len(choices))
    what = "the number of the best choice" if ranked == 1 else f"the numbers of the {ranked} best choices, best first"
    return _TASK.format(choices="\n".join(lines), numbers=", ".join(["number"] * ranked), what=what)


def _image_parts(frames_TCHW: Tensor, config: Any, images: dict[str, bytes]) -> list[dict[str, Any]]:
    """Return the frames of a clip as parts of a message, and add their JPEG files to `images`."""
    frames_THWC = frames_TCHW.to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return image_parts(frames_THWC, config.jpeg_quality, config.detail, images)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _plain(text: str) -> str:
    """Return a text, normalised for comparison with an answer."""
    return _one_line(text).casefold().strip("\"'. ")
