"""Reversal: motions that end elsewhere than they start, and their exact time reversals.

The first and the last frame suffice to distinguish the two classes of a pair.
"""

from typing import ClassVar

import numpy as np

from kinetext.data.motion.world import Look, World, ramp, smooth_progress
from kinetext.data.scenes import Figure, Scene


class Reversal(World):
    """Something moves, changes or opens once, forwards or backwards."""

    PAIRS: ClassVar[dict[str, tuple[str, ...]]] = {  # the class that runs forwards, the class that runs backwards
        "across": ("moving right", "moving left"),
        "vertical": ("rising", "falling"),
        "size": ("growing", "shrinking"),
        "visibility": ("appearing", "disappearing"),
        "gate": ("gate opening", "gate closing"),
        "distance": ("coming together", "moving apart"),
        "turn": ("arrow turning right", "arrow turning up"),
        "diagonal": ("sliding down right", "sliding up left"),
        "antidiagonal": ("sliding down left", "sliding up right"),
        "box": ("going into the box", "coming out of the box"),
        "light": ("lighting up", "going dark"),
    }

    def __init__(self, pair: str, random: np.random.Generator, look: Look | None = None) -> None:
        super().__init__(pair, random, look)
        left_to_right, right_to_left = (0.2, 0.8), (0.8, 0.2)
        x_ends = {"across": left_to_right, "diagonal": left_to_right, "antidiagonal": right_to_left}.get(pair)
        y_ends = {"vertical": right_to_left, "diagonal": left_to_right, "antidiagonal": left_to_right}.get(pair)
        self.x = ramp(random, *(x_ends or [random.uniform(0.2, 0.8)] * 2))
        self.y = ramp(random, *(y_ends or [random.uniform(0.2, 0.8)] * 2))
        self.radius = ramp(random, 0.1, 0.24) if pair == "size" else None
        self.angle = ramp(random, -np.pi / 2, 0.0) if pair == "turn" else None
        self.openness, self.fade = random.uniform(0.0, 0.1), random.uniform(0.85, 1.0)
        self.light = random.uniform(-0.05, 0.05)
        self.meeting = random.uniform(0.0, np.pi)  # direction of the line that two figures meet on
        self.box_x, self.box_y = random.choice((0.3, 0.7)), random.uniform(0.3, 0.7)
        self.gate_side = random.choice((0.18, 0.82)) if random.random() < 0.5 or look else None

    def progress(self, number: int, random: np.random.Generator) -> np.ndarray:
        """Return the progress [T], with pauses at the ends that may be short."""
        progress_T = smooth_progress(random, (0.0, 0.2))
        return progress_T[::-1] if number else progress_T

    def scene(self, u: float) -> Scene:
        """Return the image at progress u of the motion, from 0 to 1."""
        main = self.main
        scene = self.empty_scene(u, 0.12 + 0.74 * u + self.light if self.pair == "light" else None)
        main.x, main.y = self.x(u), self.y(u)
        if self.radius is not None:
            main.radius = max(self.radius(u), 0.06)
        elif self.angle is not None:
            main.shape, main.angle = "arrow", self.angle(u)
        elif self.pair == "visibility":
            main.opacity = u * self.fade
        elif self.pair == "gate":
            scene.gate = self.openness + (self.fade - self.openness) * u
            if self.gate_side is None:
                return scene
            main.x, main.radius = self.gate_side, min(main.radius, 0.15)
        elif self.pair == "distance":
            scene.figures.append(self._meet(u))
        elif self.pair == "box":
            scene.figures.append(self._enter_box(u))
        scene.figures.append(main)
        return scene

    def _meet(self, u: float) -> Figure:
        """Place both figures on the line on which they approach each other; return the second figure."""
        main, other = self.main, self.other
        apart = (0.33 - 0.2 * u) * np.array((np.cos(self.meeting), np.sin(self.meeting)))
        main.x, main.y = 0.5 - apart[0], 0.5 - apart[1]
        other.x, other.y = 0.5 + apart[0], 0.5 + apart[1]
        main.radius, other.radius = min(main.radius, 0.11), min(other.radius, 0.11)
        return other

    def _enter_box(self, u: float) -> Figure:
        """Place the figure on the way into the box; return the box."""
        grey = 0.95 if self.background < 0.5 else 0.05
        start_x = 0.9 if self.box_x < 0.5 else 0.1
        self.main.x, self.main.y = start_x + (self.box_x - start_x) * u, self.box_y
        self.main.radius = min(self.main.radius, 0.1)
        return Figure("box", (grey, grey, grey), self.box_x, self.box_y, 0.23)
