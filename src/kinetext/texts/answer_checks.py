"""Check sentences against the other sentences of their answer and of other classes: counts, order, duplicates.

Checks of single sentences are in checks.py, with the list of reasons.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

from kinetext.core.schemas import DESCRIPTIONS
from kinetext.texts.positions import END, START, part_name
from kinetext.texts.providers.base import Text

MIDDLE = 0.5  # the position of a row that records missing steps
PARTS = {"steps": "steps", "whole": "sentences about the whole clip"}  # parts that are counted -> words of the status
COMPARED = ("motion", "appearance")  # kinds whose sentences two classes may not share
Key = tuple[str, float | None, str]


def is_gap(text: Text) -> bool:
    """Return whether `mark_counts` added this row for missing sentences."""
    return not text.sentence and text.status.startswith("count:")


def mark_counts(texts: list[Text], sentences: int | None, steps: int | None = None) -> list[Text]:
    """Return the rows of a class. Surplus sentences of an answer are marked, and a row is added if some are missing.

    `sentences` is the number of sentences about the whole movement, `steps` that between start and end; None: any. The
    rows of one `rival` are one answer.
    """
    expected = {part: count for part, count in (("steps", steps), ("whole", sentences)) if count is not None}
    counts: dict[tuple[str | None, str], int] = defaultdict(int)
    first: dict[str | None, Text] = {}
    counted = []
    for text in texts:
        if text.sentence and text.kind in DESCRIPTIONS:
            first.setdefault(text.rival, text)
            part = part_name(text.position)
            counts[text.rival, part] += 1
            if counts[text.rival, part] > expected.get(part, counts[text.rival, part]) and text.status == "ok":
                text = replace(text, status=f"count: exceeds the {expected[part]} requested {PARTS[part]}")
        counted.append(text)
    for rival, text in first.items():
        for part, number in expected.items():
            if counts[rival, part] < number:
                gap = f"count: the answer has {counts[rival, part]} of the {number} requested {PARTS[part]}"
                position = None if part == "whole" else MIDDLE
                counted.append(replace(text, sentence="", position=position, status=gap))
    return counted


def mark_equal(
    texts_by_label: dict[str, list[Text]], rivals: dict[str, list[str]], wrote: Callable[[Text], bool]
) -> dict[str, list[Text]]:
    """Mark equal sentences of the same kind and position, if the provider `wrote` them.

    Within a class the first of them stays unmarked. Between classes all are marked, if they describe motion or
    appearance. A sentence about the start of one class may equal a sentence about the end of another. Classes with
    steps may also share moments, as two walks around a block begin and end at the same door, unless they share all of
    them. Sentences about appearance are compared across all positions, because they describe every moment.
    """
    labels_of: dict[Key, list[str]] = defaultdict(list)
    for label, texts in texts_by_label.items():
        for text in texts:
            if text.status == "ok" and label not in labels_of[_key(text)]:
                labels_of[_key(text)].append(label)
    moments = {label: _moments(texts) for label, texts in texts_by_label.items()}
    compared: dict[str, list[Text]] = {}
    for label, texts in texts_by_label.items():
        seen: set[tuple[str | None, Key]] = set()  # two answers about a class may share a sentence
        compared[label] = []
        for row in texts:
            text = row
            if text.status == "ok":
                key = _key(text)
                others = [
                    other
                    for other in labels_of[key]
                    if other != label and not (key[1] is not None and _differ(moments[label], moments[other]))
                ]
                near = [other for other in others if other in rivals.get(label, ()) or label in rivals.get(other, ())]
                if (text.rival, key) in seen:
                    text = replace(text, status="repeated: an earlier sentence of the class is the same")
                elif near and text.kind in COMPARED:
                    text = replace(text, status=f"pair: rival class '{near[0]}' has the same sentence")
                elif others and text.kind in COMPARED:
                    text = replace(text, status=f"shared: class '{others[0]}' has the same sentence")
                seen.add((text.rival, key))
            compared[label].append(text if wrote(row) else row)
    return compared


def _moments(texts: list[Text]) -> set[Key]:
    """Return the usable sentences about single moments of a class."""
    return {key for text in texts if text.status == "ok" and (key := _key(text))[1] is not None}


def _differ(moments: set[Key], others: set[Key]) -> bool:
    """Return whether two classes with steps differ in at least one of their moments."""
    with_steps = all(any(key[1] not in (START, END) for key in keys) for keys in (moments, others))
    return with_steps and moments != others


def _key(text: Text) -> Key:
    position = None if text.kind == "appearance" else text.position
    return text.kind, position, " ".join(text.sentence.casefold().split()).rstrip(".!; ")
