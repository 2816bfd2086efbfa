"""Control: every class is described by the sentences of another, drawn at random (WaffleCLIP, Roth et al., ICCV 2023).

All sentences of a class move together, no class keeps its own, and each class's are used once.
"""

import random

from pydantic import Field

from kinetext.texts.providers import Text, _rearranged
from kinetext.texts.providers._rearranged import check, list_files, of

__all__ = ["CONTROL", "Config", "check", "list_files", "of", "rearrange"]
CONTROL = True


class Config(_rearranged.Config):
    """Whose descriptions, and which draw."""

    seed: int = Field(0, ge=0, description="of the draw")


def rearrange(told: dict[str, list[Text]], rivals: dict[str, list[str]], config: Config) -> dict[str, list[Text]]:
    """The table with the descriptions at other classes."""
    return _rearranged.hand_over(told, random_giver(set(told), config.seed), "shuffled")


def random_giver(labels: set[str], seed: int) -> dict[str, str]:
    """A class -> another class: one random circle through all of them, so that none is its own. Empty for a single one."""
    circle = sorted(labels)
    random.Random(seed).shuffle(circle)
    return dict(zip(circle, circle[1:] + circle[:1], strict=True)) if len(circle) > 1 else {}
