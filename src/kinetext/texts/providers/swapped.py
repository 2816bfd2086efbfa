"""Control: confusable classes exchange their descriptions, so that the sentences are plausible and the contrast is wrong.

Ours; the hardest of the controls for pairs of time reversals, where all that changes is which sentence is of the start.

Being a first rival need not be mutual, so pairs are made greedily: first the two classes that are nearest to the top of
each other's lists (the sum of both ranks; in the order of their names where that is equal), then the next two of those
still free. By ranks and not by scores, which compare within one mining rule only. A class whose rivals are all taken
joins the group of its first rival, and three or more pass their sentences round. A class without rivals has no row.
"""

from kinetext.texts.providers import Text, _rearranged
from kinetext.texts.providers._rearranged import Config, check, list_files, of

__all__ = ["CONTROL", "Config", "check", "list_files", "of", "rearrange"]
CONTROL = True


def rearrange(told: dict[str, list[Text]], rivals: dict[str, list[str]], config: Config) -> dict[str, list[Text]]:
    """The table with the descriptions at each other's class."""
    giver: dict[str, str] = {}
    for group in groups({label: [rival for rival in rivals.get(label, []) if rival in told] for label in told}):
        giver |= dict(zip(group, group[1:] + group[:1], strict=True))
    return _rearranged.hand_over(told, giver, "swapped")


def groups(rivals: dict[str, list[str]]) -> list[list[str]]:
    """The classes that exchange descriptions: pairs, and larger groups where classes were left over."""

    def rank(label: str, rival: str) -> int:
        known = rivals[label]
        return known.index(rival) if rival in known else len(known)

    pairs = {(min(a, b), max(a, b)) for a, known in rivals.items() for b in known}
    group_of: dict[str, list[str]] = {}
    for a, b in sorted(pairs, key=lambda pair: (rank(*pair) + rank(*pair[::-1]), pair)):
        if a not in group_of and b not in group_of:
            group_of[a] = group_of[b] = [a, b]
    for label in sorted(set(rivals) - set(group_of)):
        if rivals[label]:  # its first rival has a partner, or the two would be a pair
            group = group_of[rivals[label][0]]
            group.append(label)
            group_of[label] = group
    return list({id(group): group for group in group_of.values()}.values())
