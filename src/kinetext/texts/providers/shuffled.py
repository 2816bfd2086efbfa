"""Control: every class gets the descriptions of another class, drawn at random (WaffleCLIP, Roth et al., ICCV 2023).

The sentences of a class stay together, no class keeps its own descriptions, and each set of descriptions is used once.
"""

import random

from pydantic import Field

from kinetext.texts.providers._rearranged import Rearranged, reassign
from kinetext.texts.providers.base import Text


class Shuffled(Rearranged):
    """Descriptions of other classes, chosen at random, as a control."""

    class Config(Rearranged.Config):
        """The text set whose descriptions are shuffled, and the seed."""

        seed: int = Field(0, ge=0, description="random seed of the assignment")

    def rearrange(self, texts: dict[str, list[Text]], rivals: dict[str, list[str]]) -> dict[str, list[Text]]:
        """Return the table with the descriptions of each class replaced by those of another class."""
        return reassign(texts, random_givers(set(texts), self.config.seed), "shuffled")


def random_givers(labels: set[str], seed: int) -> dict[str, str]:
    """Return label -> the label whose descriptions it gets: one random cycle through all classes.

    With a single class the dictionary is empty.
    """
    cycle = sorted(labels)
    random.Random(seed).shuffle(cycle)
    return dict(zip(cycle, cycle[1:] + cycle[:1], strict=True)) if len(cycle) > 1 else {}
