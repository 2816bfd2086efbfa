"""What all rendered clips share: the figures and the background of a clip, and the progress of a motion over time.

A motion is a function of its progress u, from 0 to 1. Its second class shows the same progress backwards, so that the
two classes of a pair have the same frames in the opposite order. T frames.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from kinetext.data.scenes import BACKGROUNDS, COLOURS, SHAPES, Figure, Scene, distractors, jittered_colour

NUM_FRAMES = 24  # 3 x 8: the centres of 8 segments read the same forwards and backwards
REST = (0.12, 0.2)  # share of a clip that its figures rest at each end, where both ends of two classes look the same


@dataclass(frozen=True)
class Look:
    """The prescribed appearance of a clip: its figures, named as in scenes.py, and the background."""

    colour: str
    shape: str
    other_colour: str
    other_shape: str
    background: str | None = None  # None: drawn


class World(ABC):
    """Everything in a clip that is drawn once and does not change: background, figures, distracting dots.

    A subclass is one kind of motion. It draws what its motion needs after the looks.
    """

    PAIRS: ClassVar[dict[str, tuple[str, ...]]]
    """Pair -> its classes. All classes of a pair show the same frames; there are more than two where periods count."""

    def __init__(self, pair: str, random: np.random.Generator, look: Look | None = None) -> None:
        self.pair = pair
        background = float(random.choice(list(BACKGROUNDS.values())))
        if look and look.background:
            background = BACKGROUNDS[look.background]
        self.background = background + random.uniform(-0.07, 0.07)
        self.tint = tuple(random.uniform(-0.04, 0.04, 3))
        self.noise = random.uniform(0.0, 0.05)
        self.dots = distractors(int(random.integers(0, 5)), self.background, random)
        self.drifts = random.uniform(-0.2, 0.2, (len(self.dots), 2))
        self.main = _figure(random, look.colour if look else None, look.shape if look else None)
        self.other = _figure(random, look.other_colour if look else None, look.other_shape if look else None)

    def progress(self, number: int, random: np.random.Generator) -> np.ndarray:
        """Return the progress [T] of class `number` of the pair in each frame, 0 to 1.

        The motion starts and ends at rest, and class 1 is class 0 played backwards.
        """
        progress_T = smooth_progress(random, REST)
        return progress_T[::-1] if number else progress_T

    @abstractmethod
    def scene(self, u: float) -> Scene:
        """Return the image at progress u of the motion, from 0 to 1."""

    def empty_scene(self, u: float, brightness: float | None = None) -> Scene:
        """Return the background with the distracting dots at progress u."""
        scene = Scene(self.background if brightness is None else brightness, self.tint, noise=self.noise)
        for dot, (dx, dy) in zip(self.dots, self.drifts, strict=True):
            scene.figures.append(replace(dot, x=dot.x + dx * (u - 0.5), y=dot.y + dy * (u - 0.5)))
        return scene


def smooth_progress(random: np.random.Generator, rest: tuple[float, float]) -> np.ndarray:
    """Return the progress [T] of a motion, 0 to 1: a pause, a smooth movement, a pause.

    `rest` has the shortest and the longest pause as a share of the clip. The reversed progress has the same
    distribution: both pauses are drawn alike and the movement is symmetric.
    """
    time_T = moving_time(random, rest)
    power = random.uniform(0.8, 1.6)
    return time_T**power / (time_T**power + (1.0 - time_T) ** power)


def moving_time(random: np.random.Generator, rest: tuple[float, float]) -> np.ndarray:
    """Return for each frame [T] the share of the time between the pauses that has passed, 0 to 1."""
    before, after = random.uniform(*rest, 2)
    return np.clip((np.linspace(0.0, 1.0, NUM_FRAMES) - before) / (1.0 - before - after), 0.0, 1.0)


def ramp(random: np.random.Generator, start: float, end: float) -> Callable[[float], float]:
    """Return a linear function of the progress from `start` to `end`. Both ends are changed at random by up to 0.05."""
    a, b = start + random.uniform(-0.05, 0.05), end + random.uniform(-0.05, 0.05)
    return lambda u: a + (b - a) * u


def bump(u: float, middle: float, width: float) -> float:
    """Return a smooth rise and fall, from 0 to 1 and back, that lasts `width` of the progress around `middle`."""
    distance = 2 * abs(u - middle) / width
    return 0.5 + 0.5 * np.cos(np.pi * distance) if distance < 1 else 0.0


def _figure(random: np.random.Generator, colour: str | None, shape: str | None) -> Figure:
    """Return a figure of random size and angle, with the given colour and shape.

    Colour and shape are drawn even if they are given, so that later random numbers do not change.
    """
    drawn_colour = str(random.choice(list(COLOURS)))
    rgb = jittered_colour(colour or drawn_colour, random)
    drawn_shape = str(random.choice(SHAPES[:-1]))  # not an arrow: it would have a direction
    return Figure(shape or drawn_shape, rgb, 0.5, 0.5, random.uniform(0.09, 0.19), random.uniform(-0.2, 0.2))
