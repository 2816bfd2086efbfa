"""Control: every class keeps its descriptions, and their order is wrong. This control is ours.

The positions of a class (start, steps, end) are exchanged by a random permutation that is not the identity; sentences at
one position stay together, and sentences about the whole action keep their place. If a method is as good with wrong
orders, it does not use the order. Sentences written against different rivals are permuted separately. A class with one
position only stays as it is.
"""

import random
from dataclasses import replace

from pydantic import Field

from kinetext.core.schemas import DESCRIPTIONS
from kinetext.texts.providers._rearranged import Rearranged
from kinetext.texts.providers.base import Text


class ShuffledSteps(Rearranged):
    """The right sentences in the wrong order, as a control."""

    class Config(Rearranged.Config):
        """The text set whose steps are shuffled, and the seed."""

        seed: int = Field(0, ge=0, description="random seed of the order")

    def rearrange(self, texts: dict[str, list[Text]], rivals: dict[str, list[str]]) -> dict[str, list[Text]]:
        """Return the table with the descriptions of each class at other positions."""
        return {label: shuffle_positions(rows, f"{self.config.seed} {label}") for label, rows in texts.items()}


def shuffle_positions(rows: list[Text], seed: str) -> list[Text]:
    """Return the rows of a class with the positions of each answer permuted, the sentences about the whole in place."""
    shuffled = list(rows)
    for rival in dict.fromkeys(text.rival for text in rows):
        placed = [
            i
            for i, text in enumerate(rows)
            if text.rival == rival and text.kind in DESCRIPTIONS and text.position is not None
        ]
        positions = sorted({float(rows[i].position or 0.0) for i in placed})
        moved = dict(zip(positions, wrong_order(positions, f"{seed} {rival or ''}"), strict=True))
        for i in placed:
            source = f"shuffled_steps: {rows[i].source}"
            shuffled[i] = replace(rows[i], position=moved[float(rows[i].position or 0.0)], source=source)
    return shuffled


def wrong_order(positions: list[float], seed: str) -> list[float]:
    """Return a random permutation that is not the identity, if there is one."""
    generator, order = random.Random(seed), list(positions)
    while len(positions) > 1 and order == positions:
        generator.shuffle(order)
    return order
