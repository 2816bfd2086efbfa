"""Control: confusable classes exchange their descriptions, so the sentences are plausible and the contrast is wrong.

Ours. The hardest control for pairs of time reversals, which differ only in which sentence is about the start.

"First rival" is not symmetric, so pairs are formed greedily: first the two classes nearest to the top of each other's
lists (smallest sum of both ranks; ties by name), then the next two of those left. Ranks are used because scores of
different mining rules cannot be compared. A class whose rivals are all paired joins the group of its first rival; three
or more classes rotate their descriptions. A class without rivals gets no description.
"""

from kinetext.texts.providers._rearranged import Rearranged, reassign
from kinetext.texts.providers.base import Text


class Swapped(Rearranged):
    """Descriptions exchanged between confusable classes, as a control."""

    def rearrange(self, texts: dict[str, list[Text]], rivals: dict[str, list[str]]) -> dict[str, list[Text]]:
        """Return the table with the descriptions of each group rotated by one class."""
        givers: dict[str, str] = {}
        known = {label: [rival for rival in rivals.get(label, []) if rival in texts] for label in texts}
        for group in groups(known):
            givers |= dict(zip(group, group[1:] + group[:1], strict=True))
        return reassign(texts, givers, "swapped")


def groups(rivals: dict[str, list[str]]) -> list[list[str]]:
    """Return the classes that exchange descriptions: pairs, and larger groups for the classes left over."""

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
