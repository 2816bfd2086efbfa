"""Combine the descriptions of a second round with those of round one (the provider `refined`)."""

import sys
from collections.abc import Callable

from kinetext.core.schemas import DESCRIPTIONS, is_used
from kinetext.texts.providers.base import Text

TextsByLabel = dict[str, list[Text]]


def check_round(
    texts: TextsByLabel,
    source: TextsByLabel,
    wrote: Callable[[Text], bool],
    check: Callable[[TextsByLabel], TextsByLabel],
) -> TextsByLabel:
    """Return the checked texts of a second round, in which new descriptions of a class replace those of round one.

    `source` is the table of round one, and `wrote` says whether a row is new. A class without a usable new description
    has both: the old rows, and the new ones with the reasons. `check` compares new rows with old ones of other classes.
    """
    old = {label: [text for text in rows if not wrote(text)] for label, rows in source.items()}
    new = {label: [text for text in rows if wrote(text)] for label, rows in texts.items()}
    names = {label: [text for text in rows if text.kind not in DESCRIPTIONS] for label, rows in old.items()}
    table = check({label: names[label] + rows if rows else old[label] for label, rows in new.items()})
    while lost := [label for label in table if not _is_described(table[label]) and _is_described(old[label])]:
        restored = {label: old[label] + [text for text in table[label] if wrote(text)] for label in lost}
        table = check(table | restored)
    return table


def warn_failed_pairs(texts: TextsByLabel, wrote: Callable[[Text], bool], name: str) -> None:
    """Print the pairs of classes that a second round asked about without a usable answer.

    Raises ValueError if no pair has a usable answer, because the table would be that of round one.
    """
    statuses: dict[str, list[str]] = {}
    for text in (text for rows in texts.values() for text in rows if wrote(text)):
        pair = " and ".join(f"'{label}'" for label in sorted((text.label, text.rival or "")))
        statuses.setdefault(pair, []).append(text.status)
    failed = [pair for pair, of_pair in statuses.items() if not any(map(is_used, of_pair))]
    if not failed:
        return
    message = f"{len(failed)} of {len(statuses)} pairs of classes have no usable answer: {', '.join(failed)}"
    reason = f"the first: {statuses[failed[0]][0]}"
    if len(failed) == len(statuses):
        raise ValueError(f"texts.{name}: {message}; {reason}")
    print(f"warning: texts.{name}: {message}; {reason}", file=sys.stderr)


def _is_described(texts: list[Text]) -> bool:
    return any(text.kind in DESCRIPTIONS and is_used(text.status) for text in texts)
