"""The request that is sent to a language model for one class, or for a pair of classes.

After MoTED (CVPR 2024): confusable classes are compared and described by their movement. The wording is ours. It also
asks for the state at the start, the steps in between and the state at the end, because these sentences matter most where
only the order of the frames distinguishes two classes. Order words are refused in them: no single frame shows "then". Rivals must not be named, because an image-text model ignores negation: for it,
"unlike jumping" shows jumping. `appearance` is the control: what a single still image shows, without movement.

`VERSIONS` are part of every request's hash. Increase a version whenever the wording of its prompt changes. `ends` is the
prompt about motion without steps, which older caches have replies to. Corrections
have a separate version, so that changing their wording does not repeat the request of every class.
"""

import json
from typing import Literal

from kinetext.texts.answers import About
from kinetext.texts.chat.limits import MAX_WORDS

VERSIONS = {
    "motion": "motion-2",
    "ends": "motion-1",
    "pair": "pair-1",
    "refined": "refined-1",
    "clip": "clip-1",
    "appearance": "appearance-1",
    "correction": "correction-1",
}
Part = Literal["first", "second"]  # keys of an answer about a pair of classes

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
{{"start": "...", {steps_key}"end": "...", "whole": [{whole}]}}
start: one sentence, what can be seen at the first moment.
{steps}end: one sentence, what can be seen at the last moment.
whole: {sentences}, each about the whole movement from start to end, each saying something different.
Each sentence is plain English of at most {max_words} words, without numbering, quotation marks or line breaks."""

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
Each sentence is plain English of at most {max_words} words, without numbering, quotation marks or line breaks."""

_PAIR = """\
Short video clips are sorted into classes by how things move in them. Two of these classes are easily mistaken for each \
other.

First class: {first}
Second class: {second}

Compare the movement in clips of the two classes, and describe in each class what differs from the other: which body \
part or which part of an object moves, in which order, in which direction and how fast, what touches what, and how the \
state at the end differs from the state at the start. Describe each class by what is seen in it. Do not name or mention \
the other class there, not even with a negation such as "unlike" or "without".
Write only what can be seen in the clip. Leave out the scene, the background, clothing, colours, the camera and who \
the people are. Do not write about thoughts, purposes or preparations.

Answer with one JSON object and nothing else, which describes the first class under "first" and the second under \
"second":
{{"first": {form}, "second": {form}}}
start: one sentence, what can be seen at the first moment.
{steps}end: one sentence, what can be seen at the last moment.
whole: {sentences}, each about the whole movement from start to end, each saying something different.
Each sentence is plain English of at most {max_words} words, without numbering, quotation marks or line breaks."""

_REFINED = """\
An image-text model sorted the training clips with descriptions. It still takes these two classes for each other{share}.

The descriptions of the first class were:
{first}

The descriptions of the second class were:
{second}

Find out what these sentences leave out or say of both classes alike. Write new descriptions that separate the two \
better. Do not repeat an old sentence that is true of both.

"""

_CLIP = """\
The pictures are frames of one short video clip, in the order of time.

Describe the movement in this clip. Say which body part or which part of an object moves, in which order, in which \
direction and how fast, what touches what, and how the state at the end differs from the state at the start.
Write only what can be seen in the clip. Leave out the scene, the background, clothing, colours, the camera and who \
the people are. Do not mention pictures, frames or clips. Do not write about thoughts, purposes or preparations.

Answer with one JSON object and nothing else:
{form}
start: one sentence, what can be seen at the first moment.
{steps}end: one sentence, what can be seen at the last moment.
whole: {sentences}, each about the whole movement from start to end, each saying something different.
Each sentence is plain English of at most {max_words} words, without numbering, quotation marks or line breaks."""

_CORRECTION = """\
Your answer cannot be used as it is:
{faults}

Answer again with one complete JSON object of the same form and nothing else. Mend these faults and leave all other \
sentences as they are. Do not name any other class."""


_STEPS = """steps: {count}, what can be seen at {moments} between start and end, in temporal order, each as a picture of that \
moment alone: no "first", "then", "next" or "finally".
"""


def messages(
    label: str,
    rivals: list[str],
    sentences: int,
    about: About = "motion",
    steps: int = 0,
    max_words: int = MAX_WORDS,
) -> list[dict[str, str]]:
    """Return the chat messages that request descriptions of one class, with `sentences` sentences about the whole clip.

    `steps` is the number of sentences between start and end, `max_words` the most words of a sentence. All text is in
    one user message, because not every model's template has a system role.
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
        sentences=_sentences(sentences),
        steps_key=_steps_key(steps),
        steps=_steps(steps),
        max_words=max_words,
    )
    return [{"role": "user", "content": request}]


def pair_messages(
    first: str, second: str, sentences: int, steps: int, max_words: int = MAX_WORDS
) -> list[dict[str, str]]:
    """Return the chat messages that request a comparison of two classes, with descriptions of both."""
    request = _PAIR.format(
        first=json.dumps(first, ensure_ascii=False),
        second=json.dumps(second, ensure_ascii=False),
        form=_form(sentences, steps),
        steps=_steps(steps),
        sentences=_sentences(sentences),
        max_words=max_words,
    )
    return [{"role": "user", "content": request}]


def refine_messages(
    labels: tuple[str, str],
    old: list[list[str]],
    score: float,
    sentences: int,
    steps: int,
    max_words: int = MAX_WORDS,
) -> list[dict[str, str]]:
    """Return the chat messages that request better descriptions of two classes that are still confused.

    `old` holds the sentences of the first and of the second class, `score` their confusion from 0 to 1.
    """
    first, second = ("\n".join(f"- {sentence}" for sentence in of_class) or "- (none)" for of_class in old)
    share = f" (confusion {score:.2f}, where 0 is never and 1 is always)" if score <= 1 else ""
    preface = _REFINED.format(share=share, first=first, second=second)
    request = pair_messages(*labels, sentences, steps, max_words)[0]["content"]
    return [{"role": "user", "content": preface + request}]


def clip_prompt(sentences: int, steps: int, max_words: int = MAX_WORDS) -> str:
    """Return the text of a request that shows the frames of one clip. It names no class."""
    form = _form(sentences, steps)
    return _CLIP.format(form=form, steps=_steps(steps), sentences=_sentences(sentences), max_words=max_words)


def version(about: About, steps: int) -> str:
    """Return the version of the prompt of a class."""
    return VERSIONS["ends" if about == "motion" and not steps else about]


def _form(sentences: int, steps: int) -> str:
    """Return the form of an answer about motion, with dots for the sentences."""
    whole = ", ".join(['"..."'] * sentences)
    return f'{{"start": "...", {_steps_key(steps)}"end": "...", "whole": [{whole}]}}'


def _steps_key(steps: int) -> str:
    return '"steps": [' + ", ".join(['"..."'] * steps) + "], " if steps else ""


def _steps(steps: int) -> str:
    if not steps:
        return ""
    return _STEPS.format(count=_sentences(steps), moments="one moment" if steps == 1 else f"{steps} moments")


def _sentences(count: int) -> str:
    return "one sentence" if count == 1 else f"{count} sentences"


def correction(messages: list[dict[str, str]], answer: str, faults: list[str]) -> list[dict[str, str]]:
    """Return the messages that request a correction: the conversation, the model's answer, and a list of its faults."""
    request = _CORRECTION.format(faults="\n".join(f"- {fault}" for fault in faults))
    return [*messages, {"role": "assistant", "content": answer}, {"role": "user", "content": request}]
