"""Difficulty levels of rendered clips: wandering objects, a textured background, a drifting camera, noise.

Level 0 is the plain look. The same clip of a higher level shows the same motion with the same figures; what is added is
drawn from separate random numbers. It does not depend on the class, and its distribution is the same backwards, so it
cannot help to distinguish classes. T frames, H rows, W columns.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from kinetext.data.motion.world import NUM_FRAMES
from kinetext.data.scenes import SHAPES, SIZE_PX, Figure, Scene, draw_scene

TEXTURE_CELLS = (4, 8)  # cells per side of the two grids of random brightness that a texture is made of


@dataclass(frozen=True)
class Level:
    """What a level adds. Lengths are fractions of the frame, brightness is between 0 and 1."""

    objects: int = 0  # small grey figures that wander about
    texture: float = 0.0  # standard deviation of the brightness of the background
    camera: float = 0.0  # how far the camera drifts to either side
    noise: float = 0.0  # added to the standard deviation of the pixel noise


LEVELS = (
    Level(),
    Level(objects=2, texture=0.03, camera=0.02, noise=0.02),
    Level(objects=4, texture=0.06, camera=0.05, noise=0.05),
    Level(objects=8, texture=0.10, camera=0.09, noise=0.09),
)


def draw_level(scenes: Iterable[Scene], level: Level, random: np.random.Generator) -> np.ndarray:
    """Return the frames of a clip, uint8 [T, H, W, 3], with what the level adds to its scenes."""
    texture_HW = level.texture * _texture(random)
    camera_T2 = level.camera * _wander(random)
    objects = [_object(random) for _ in range(level.objects)]
    frames = []
    for time, scene in enumerate(scenes):
        grey = [float(np.clip(scene.brightness + contrast, 0.0, 1.0)) for _, _, contrast in objects]
        placed = [
            replace(figure, x=figure.x + path_T2[time, 0], y=figure.y + path_T2[time, 1], rgb=(value,) * 3)
            for (figure, path_T2, _), value in zip(objects, grey, strict=True)
        ]
        still = replace(scene, figures=[*placed, *scene.figures], texture_HW=texture_HW, noise=0.0)
        image_HWC = shifted(draw_scene(still, random).astype(np.float32) / 255.0, *(SIZE_PX * camera_T2[time]))
        image_HWC += random.normal(0.0, scene.noise + level.noise, image_HWC.shape).astype(np.float32)
        frames.append((np.clip(image_HWC, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8))
    return np.stack(frames)


def shifted(image_HWC: np.ndarray, dx: float, dy: float) -> np.ndarray:
    """Return an image moved by dx pixels to the right and dy downwards. Its border is continued; pixels are mixed."""
    for axis, offset in ((1, dx), (0, dy)):
        source = np.clip(np.arange(image_HWC.shape[axis]) - offset, 0, image_HWC.shape[axis] - 1)
        before = np.floor(source).astype(int)
        after = np.minimum(before + 1, image_HWC.shape[axis] - 1)
        share = (source - before).astype(np.float32)[:, None]
        share = share[None] if axis == 1 else share[:, None]
        image_HWC = image_HWC.take(before, axis) * (1 - share) + image_HWC.take(after, axis) * share
    return image_HWC


def _texture(random: np.random.Generator) -> np.ndarray:
    """Return a smooth random pattern [H, W] with mean 0 and standard deviation 1."""
    pattern_HW = np.zeros((SIZE_PX, SIZE_PX), np.float32)
    for cells in TEXTURE_CELLS:
        position = (np.arange(SIZE_PX) + 0.5) / SIZE_PX * cells
        corners, grid = np.arange(cells + 1), random.normal(size=(cells + 1, cells + 1))
        rows = np.stack([np.interp(position, corners, column) for column in grid.T], 1)
        pattern_HW += np.stack([np.interp(position, corners, row) for row in rows])
    return (pattern_HW - pattern_HW.mean()) / pattern_HW.std()


def _wander(random: np.random.Generator) -> np.ndarray:
    """Return a smooth random path (x, y) [T, 2] within -1 to 1. Backwards, it has the same distribution."""
    time_T1 = np.linspace(0.0, 1.0, NUM_FRAMES)[:, None]
    turns_2, phase_2 = random.uniform(0.3, 1.2, 2), random.uniform(0.0, 2 * np.pi, 2)
    return np.sin(2 * np.pi * turns_2 * time_T1 + phase_2)


def _object(random: np.random.Generator) -> tuple[Figure, np.ndarray, float]:
    """Return a small figure, its path [T, 2] around its place, and how much brighter it is than the background."""
    shape, (x, y) = str(random.choice(SHAPES[:-1])), random.uniform(0.05, 0.95, 2)
    figure = Figure(shape, (0.0,) * 3, float(x), float(y), random.uniform(0.03, 0.05), random.uniform(-0.2, 0.2))
    return figure, random.uniform(0.05, 0.15) * _wander(random), random.choice((-1, 1)) * random.uniform(0.12, 0.25)
