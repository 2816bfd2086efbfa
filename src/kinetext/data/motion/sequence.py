"""Sequence: two events in one order or the other. Both classes start and end with the same still, at rest.

The events are the same in both classes, and each class is the time reversal of the other.
"""

from dataclasses import replace
from typing import ClassVar

import numpy as np

from kinetext.data.motion.world import Look, World, bump
from kinetext.data.scenes import Scene, jittered_colour

FIRST, SECOND = 0.27, 0.73  # progress at the height of the two events


class Sequence(World):
    """Two things happen one after the other."""

    PAIRS: ClassVar[dict[str, tuple[str, ...]]] = {
        "lamps": ("left lamp before right lamp", "right lamp before left lamp"),
        "visits": ("visiting the left before the right", "visiting the right before the left"),
        "colours": ("turning red before blue", "turning blue before red"),
        "changes": ("swelling before fading", "fading before swelling"),
    }

    def __init__(self, pair: str, random: np.random.Generator, look: Look | None = None) -> None:
        super().__init__(pair, random, look)
        self.x, self.y = random.uniform(0.25, 0.75, 2)
        self.width = random.uniform(0.4, 0.46)  # how long an event lasts
        if pair == "lamps":
            self.main.radius = random.uniform(0.1, 0.17)
            self.ends_x = 0.2 + random.uniform(-0.05, 0.05), 0.8 + random.uniform(-0.05, 0.05)
        elif pair == "visits":
            self.main.radius = min(self.main.radius, 0.15)
            self.x = 0.5 + random.uniform(-0.04, 0.04)
            self.y = 0.5 + random.uniform(-0.06, 0.06)
            self.reach = random.uniform(0.27, 0.33)
        elif pair == "colours":
            self.rest, self.red, self.blue = (jittered_colour(name, random) for name in ("yellow", "red", "blue"))
        elif pair == "changes":
            self.main.radius = random.uniform(0.08, 0.1)
            self.large = random.uniform(0.22, 0.26)

    def scene(self, u: float) -> Scene:
        """Return the image at progress u of the motion, from 0 to 1: the first event, then the second."""
        first, second = bump(u, FIRST, self.width), bump(u, SECOND, self.width)
        main, scene = replace(self.main, x=self.x, y=self.y), self.empty_scene(u)
        scene.figures.append(main)
        if self.pair == "lamps":
            main.x, main.opacity = self.ends_x[0], first
            scene.figures.append(replace(main, x=self.ends_x[1], opacity=second))
        elif self.pair == "visits":
            main.x += self.reach * (second - first)
        elif self.pair == "colours":
            parts = zip(self.rest, self.red, self.blue, strict=True)
            red, green, blue = (a + first * (b - a) + second * (c - a) for a, b, c in parts)
            main.rgb = (red, green, blue)
        elif self.pair == "changes":
            main.radius += first * (self.large - main.radius)
            main.opacity = 1.0 - second
        return scene
