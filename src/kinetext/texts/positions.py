"""The part of an action that a description is about: a position from 0 (start) to 1 (end), or None for the whole.

A described class has sentences about its start, about any number of steps between start and end, about its end, and
about the whole action. Step i of n, counted from 1, is at i / (n + 1).
"""

from collections.abc import Sequence

START, END = 0.0, 1.0
NAMED: dict[str, float | None] = {"whole": None, "start": START, "end": END}  # words that files may use


def step_position(number: int, steps: int) -> float:
    """Return the position of step `number`, counted from 1, of `steps` steps between start and end."""
    return round(number / (steps + 1), 4)


def with_positions(
    start: Sequence[str], steps: Sequence[str], end: Sequence[str], whole: Sequence[str]
) -> list[tuple[float | None, str]]:
    """Return the sentences of a class with their positions: start, steps in order, end, whole."""
    return [
        *((START, sentence) for sentence in start),
        *((step_position(i, len(steps)), sentence) for i, sentence in enumerate(steps, start=1)),
        *((END, sentence) for sentence in end),
        *((None, sentence) for sentence in whole),
    ]


def part_name(position: float | None) -> str:
    """Return the key under which an answer or a bank has a sentence: whole, start, end or steps."""
    return next((name for name, value in NAMED.items() if value == position), "steps")


def is_position(position: object) -> bool:
    """Return whether a value is a position: None, or a number from 0 to 1."""
    return position is None or (isinstance(position, int | float) and START <= position <= END)


def parse_position(text: str) -> float | None:
    """Return the position in a user's file: a number from 0 to 1, or start, end or whole; "" means whole.

    Raises ValueError for anything else.
    """
    if not text or text in NAMED:
        return NAMED.get(text)
    try:
        position = float(text)
    except ValueError:
        position = -1.0
    if not START <= position <= END:  # false for NaN
        raise ValueError(f"position is '{text}'; it must be a number from 0 (start) to 1 (end), or start, end or whole")
    return position
