"""Count: a motion with one, two or three periods in a clip, from a random phase and in a random direction.

Each state is equally frequent in each frame of each class, so that no linear look at the frames distinguishes the
classes. Frames are at the centres of equal parts of the clip, so that the 8 frames that are sampled are evenly spread
over the periods of every class.
"""

from typing import ClassVar

import numpy as np

from kinetext.data.motion.world import NUM_FRAMES, Look, World
from kinetext.data.scenes import Scene

ENDS = ("once", "twice", "three times")


class Count(World):
    """A figure swings, bobs or pulses once, twice or three times. Class `number` has `number` + 1 periods."""

    PAIRS: ClassVar[dict[str, tuple[str, ...]]] = {
        "swing": tuple(f"swinging {times}" for times in ENDS),
        "bob": tuple(f"bobbing {times}" for times in ENDS),
        "pulse": tuple(f"pulsing {times}" for times in ENDS),
    }

    def __init__(self, pair: str, random: np.random.Generator, look: Look | None = None) -> None:
        super().__init__(pair, random, look)
        self.periods = 1
        self.phase = random.uniform(0.0, 2 * np.pi)
        self.main.radius = min(self.main.radius, 0.15)
        if pair == "bob":
            self.main.radius = random.uniform(0.13, 0.158)  # "a medium shape"
        self.reach = random.uniform(0.27, 0.33)
        # of these, a swing uses y and a bob x
        self.x, self.y = random.uniform(0.4, 0.6, 2) if pair == "pulse" else random.uniform(0.3, 0.7, 2)
        self.small, self.large = random.uniform(0.07, 0.09), random.uniform(0.25, 0.3)

    def progress(self, number: int, random: np.random.Generator) -> np.ndarray:
        """Return the progress [T], without pauses, and set the number of periods."""
        self.periods = number + 1
        return (np.arange(NUM_FRAMES) + 0.5) / NUM_FRAMES

    def scene(self, u: float) -> Scene:
        """Return the image at progress u of the motion, from 0 to 1."""
        main, wave = self.main, np.sin(self.phase + 2 * np.pi * self.periods * u)
        main.x, main.y = self.x, self.y
        if self.pair == "swing":
            main.x = 0.5 + self.reach * wave
        elif self.pair == "bob":
            main.y = 0.5 + self.reach * wave
        else:
            main.radius = self.small + (self.large - self.small) * (0.5 + 0.5 * wave)
        scene = self.empty_scene(u)
        scene.figures.append(main)
        return scene
