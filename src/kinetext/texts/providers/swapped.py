"""Control: confusable classes exchange their descriptions, so the sentences are plausible and the contrast is wrong.

This control is ours. It is hardest for classes that are time reversals of each other: their descriptions differ only in
which sentence is about the start.

Rivals are not symmetric, so pairs are formed greedily: first the two classes with the smallest sum of ranks in each
other's lists of rivals (ties by name), then the next two among the remaining classes. Ranks are used because scores of
different mining rules cannot be compared. A class whose rivals are all paired joins the group of its first rival. A
group of three or more classes rotates its descriptions. A class that is in no group gets no description.
"""

from kinetext.texts.providers._rearranged import Rearranged, reassign
from kinetext.texts.providers.base import Text


class Swapped(Rearranged):
    """Descriptions exchanged between confusable classes, as a control."""

    def rearrange(self, texts: dict[str, list[Text]], rivals: dict[str, list[str]]) -> dict[str, list[Text]]:
        """Return the table with the descriptions of each group of classes rotated by one class."""
        givers: dict[str, str] = {}
        known = {label: [rival for rival in rivals.get(label, []) if rival in texts] for label in texts}
        for group in groups(known):
            givers |= dict(zip(group, group[1:] + group[:1], strict=True))
        return reassign(texts, givers, "swapped")


def groups(rivals: dict[str, list[str]]) -> list[list[str]]:
    """Return the groups of classes that exchange descriptions: pairs, and larger groups with classes that were left
    over.
    """

    def rank(label: str, rival: str) -> int:
        ranked = rivals[label]
        return ranked.index(rival) if rival in ranked else len(ranked)

    pairs = {(min(a, b), max(a, b)) for a, ranked in rivals.items() for b in ranked}
    group_of: dict[str, list[str]] = {}
    for a, b in sorted(pairs, key=lambda pair: (rank(*pair) + rank(*pair[::-1]), pair)):
        if a not in group_of and b not in group_of:
            group_of[a] = group_of[b] = [a, b]
    for label in sorted(set(rivals) - set(group_of)):
        if rivals[label]:  # its first rival is paired, or these two would be a pair
            group = group_of[rivals[label][0]]
            group.append(label)
            group_of[label] = group
    return list({id(group): group for group in group_of.values()}.values())
