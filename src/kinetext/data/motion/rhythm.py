"""Rhythm: the same path, covered faster and faster or slower and slower, or with a pause early or late.

Either way round is equally frequent in both classes, so that each is the time reversal of the other. The figure rests
at both ends. Only the timing of the frames in between differs.
"""

from typing import ClassVar

import numpy as np

from kinetext.data.motion.loop import TOP
from kinetext.data.motion.world import REST, Look, World, moving_time
from kinetext.data.scenes import Scene


class Rhythm(World):
    """A figure goes once around or across, at a speed that changes."""

    PAIRS: ClassVar[dict[str, tuple[str, ...]]] = {
        "speed": ("circling faster and faster", "circling slower and slower"),
        "pause": ("circling with an early pause", "circling with a late pause"),
        "dash": ("crossing faster and faster", "crossing slower and slower"),
    }

    def __init__(self, pair: str, random: np.random.Generator, look: Look | None = None) -> None:
        super().__init__(pair, random, look)
        self.main.radius = min(self.main.radius, 0.15)
        self.start = TOP + random.uniform(-0.15, 0.15)
        self.centre_x, self.centre_y = random.uniform(0.46, 0.54, 2)
        self.reach = random.uniform(0.27, 0.33)
        self.direction = random.choice((-1.0, 1.0))
        if pair == "dash":
            self.centre_y = random.uniform(0.25, 0.75)

    def progress(self, number: int, random: np.random.Generator) -> np.ndarray:
        """Return the progress [T]: slow and then fast, or a pause early on; of class 1, the same backwards."""
        time_T = moving_time(random, REST)
        if self.pair == "pause":
            length, stop = random.uniform(0.35, 0.45), random.uniform(0.22, 0.3)
            begin = stop * (1 - length)
            progress_T = np.interp(time_T, (0.0, begin, begin + length, 1.0), (0.0, stop, stop, 1.0))
        else:
            progress_T = time_T ** random.uniform(2.2, 3.0)
        return progress_T[::-1] if number else progress_T

    def scene(self, u: float) -> Scene:
        """Return the image at progress u of the motion, from 0 to 1."""
        main = self.main
        if self.pair == "dash":
            main.x, main.y = self.centre_x + self.direction * self.reach * (2 * u - 1), self.centre_y
        else:
            angle = self.start + self.direction * 2 * np.pi * u
            main.x = self.centre_x + self.reach * np.cos(angle)
            main.y = self.centre_y + self.reach * np.sin(angle)
        scene = self.empty_scene(u)
        scene.figures.append(main)
        return scene
