"""Loop: motions that end where they started, this way round or the other way round.

All frames of the two classes are the same, and so are the ends, where the figure rests. Only the order in between
differs. The orbit from anywhere shows each place at each time equally often, so that even a linear look at the
frames in order is at chance: its two classes differ in how each frame relates to the next.
"""

from typing import ClassVar

import numpy as np

from kinetext.data.motion.world import Look, World
from kinetext.data.scenes import Scene

TOP = -np.pi / 2  # angles are clockwise on the screen, 0 points right


class Loop(World):
    """A figure or an arrow goes once around, one way or the other."""

    PAIRS: ClassVar[dict[str, tuple[str, ...]]] = {
        "orbit": ("circling clockwise from the top", "circling counter-clockwise from the top"),
        "eight": ("figure of eight to the right first", "figure of eight to the left first"),
        "spin": ("arrow spinning to the right", "arrow spinning to the left"),
        "anywhere": ("circling clockwise from anywhere", "circling counter-clockwise from anywhere"),
    }

    def __init__(self, pair: str, random: np.random.Generator, look: Look | None = None) -> None:
        super().__init__(pair, random, look)
        self.main.radius = min(self.main.radius, 0.15)
        self.start = TOP + random.uniform(-0.15, 0.15)
        if pair == "anywhere":
            self.start = random.uniform(0.0, 2 * np.pi)
        self.centre_x, self.centre_y = random.uniform(0.46, 0.54, 2)
        self.reach = random.uniform(0.27, 0.33)
        if pair == "spin":
            self.centre_x, self.centre_y = random.uniform(0.42, 0.58, 2)
            self.main.shape, self.main.radius = "arrow", random.uniform(0.18, 0.26)

    def scene(self, u: float) -> Scene:
        """Return the image at progress u of the motion, from 0 to 1: one turn."""
        main, angle = self.main, 2 * np.pi * u
        if self.pair == "spin":
            main.x, main.y, main.angle = self.centre_x, self.centre_y, self.start + angle
        elif self.pair == "eight":
            main.x = self.centre_x + self.reach * np.sin(angle)
            main.y = self.centre_y + 0.7 * self.reach * np.sin(2 * angle)
        else:
            main.x = self.centre_x + self.reach * np.cos(self.start + angle)
            main.y = self.centre_y + self.reach * np.sin(self.start + angle)
        scene = self.empty_scene(u)
        scene.figures.append(main)
        return scene
