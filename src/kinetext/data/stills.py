"""Draw stills of the shapes world with known attributes. The small CLIP is pretrained on them.

The attributes of a still (colour, position, gate, ...) are known as symbols; `still_captions` states some of them in
words. Nothing moves here, so the resulting CLIP knows appearance and position but no motion.
"""

from dataclasses import dataclass

import numpy as np

from kinetext.data.scenes import (
    BACKGROUNDS,
    COLOURS,
    DIRECTIONS,
    POSITIONS,
    RADIUS,
    SHAPES,
    Figure,
    Scene,
    distractors,
    jittered_colour,
)

# Attributes and their values, in the order of the columns of `table`.
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "colour": tuple(COLOURS),
    "size": tuple(RADIUS),
    "position": tuple(POSITIONS),
    "background": tuple(BACKGROUNDS),
    "orientation": tuple(DIRECTIONS),
    "visibility": ("solid", "faint", "absent"),
    "gate": ("open", "closed"),
    "box": ("inside", "outside"),
    "side": ("left of", "right of"),
    "height": ("above", "below"),
    "distance": ("close together", "far apart"),
    "other_shape": SHAPES,
    "other_colour": tuple(COLOURS),
}
NAMES = tuple(ATTRIBUTES)
FREE, NONE, UNSURE = -1, -2, -3  # a caption does not state it; a still lacks it; a still is ambiguous
PAIR_ONLY = ("side", "height", "distance", "other_shape", "other_colour")


@dataclass
class Still:
    """A scene to draw, and the value of each attribute: an index into ATTRIBUTES, NONE or UNSURE."""

    scene: Scene
    values: dict[str, int]


def draw_still(kind: str, random: np.random.Generator) -> Still:
    """Return a random still of a kind: single, pair, gate, box or empty. Raises ValueError for any other kind."""
    values = dict.fromkeys(NAMES, NONE)
    background = int(random.integers(len(BACKGROUNDS)))
    values["background"] = background
    brightness = float(list(BACKGROUNDS.values())[background] + random.uniform(-0.07, 0.07))
    scene = Scene(brightness, tuple(random.uniform(-0.04, 0.04, 3)), noise=random.uniform(0.0, 0.05))
    scene.figures += distractors(int(random.integers(0, 5)), brightness, random)
    if kind == "empty":
        values["visibility"] = 2
        return Still(scene, values)
    main, main_values = _figure(random, arrow_share=0.3 if kind == "single" else 0.1)
    values |= main_values | {"visibility": 0}
    if kind == "single":
        if random.random() < 0.15:
            main.opacity, values["visibility"] = random.uniform(0.15, 0.4), 1
        scene.figures.append(main)
    elif kind == "gate":
        values["gate"] = int(random.integers(2))
        scene.gate = random.uniform(0.75, 1.0) if values["gate"] == 0 else random.uniform(0.0, 0.2)
        # half of the gate scenes hold a figure to the side of the gate, where it cannot hide it
        if random.random() < 0.5:
            main.x, values["position"] = random.choice((0.18, 0.82)), UNSURE
            main.radius, values["size"] = min(main.radius, 0.15), UNSURE
            scene.figures.append(main)
        else:
            values |= dict.fromkeys(("shape", "colour", "size", "position", "orientation", "visibility"), NONE)
    elif kind == "box":
        values["box"] = int(random.integers(2))
        x, y = random.uniform(0.28, 0.72, 2)
        grey = 0.95 if brightness < 0.5 else 0.05
        scene.figures.append(Figure("box", (grey,) * 3, x, y, random.uniform(0.2, 0.25)))
        main.radius = random.uniform(0.08, 0.11)
        if values["box"] == 0:
            main.x, main.y = x + random.uniform(-0.05, 0.05), y + random.uniform(-0.05, 0.05)
        else:
            main.x, main.y = _away(x, y, 0.36, random)
        values["size"] = values["position"] = UNSURE
        scene.figures.append(main)
    elif kind == "pair":
        other, other_values = _figure(random, arrow_share=0.1)
        values |= {"other_shape": other_values["shape"], "other_colour": other_values["colour"]}
        values |= dict.fromkeys(("size", "position", "orientation"), UNSURE)
        main.radius, other.radius = random.uniform(0.08, 0.13, 2)
        _arrange(main, other, values, random)
        scene.figures += [main, other]
    else:
        raise ValueError(f"kind: no still of kind '{kind}'; known: single, pair, gate, box, empty")
    return Still(scene, values)


def _figure(random: np.random.Generator, arrow_share: float) -> tuple[Figure, dict[str, int]]:
    shape = SHAPES.index("arrow") if random.random() < arrow_share else int(random.integers(len(SHAPES) - 1))
    colour, size = int(random.integers(len(COLOURS))), int(random.integers(len(RADIUS)))
    position, direction = int(random.integers(len(POSITIONS))), int(random.integers(len(DIRECTIONS)))
    values = {"shape": shape, "colour": colour, "size": size, "position": position, "orientation": NONE}
    angle = random.uniform(-0.2, 0.2)
    if SHAPES[shape] == "arrow":
        values["orientation"] = direction
        angle += list(DIRECTIONS.values())[direction]
    x, y = np.asarray(list(POSITIONS.values())[position]) + random.uniform(-0.06, 0.06, 2)
    radius = list(RADIUS.values())[size] * random.uniform(0.9, 1.1)
    rgb = jittered_colour(list(COLOURS)[colour], random)
    return Figure(SHAPES[shape], rgb, float(x), float(y), radius, angle), values


def _away(x: float, y: float, distance: float, random: np.random.Generator) -> tuple[float, float]:
    """Return a random point of the frame that is at least `distance` away from (x, y), horizontally or vertically."""
    while True:
        point = random.uniform(0.12, 0.88, 2)
        if max(abs(point[0] - x), abs(point[1] - y)) >= distance:
            return float(point[0]), float(point[1])


def _arrange(main: Figure, other: Figure, values: dict[str, int], random: np.random.Generator) -> None:
    """Put two figures beside or above each other, close together or far apart.

    The values of side, height and distance are set; side or height becomes UNSURE if it is ambiguous.
    """
    along = int(random.integers(2))  # 0: beside each other, 1: above each other
    near = random.random() < 0.5
    gap = random.uniform(0.24, 0.3) if near else random.uniform(0.58, 0.7)
    first_is_main = random.random() < 0.5
    start = random.uniform(0.14, 0.86 - gap)
    across = random.uniform(0.15, 0.85)
    ends = [(start, across), (start + gap, across + random.uniform(-0.06, 0.06))]
    for figure, (a, c) in zip((main, other) if first_is_main else (other, main), ends, strict=True):
        figure.x, figure.y = (a, c) if along == 0 else (c, a)
    values["distance"] = 0 if near else 1
    values["side"] = (0 if first_is_main else 1) if along == 0 else UNSURE
    values["height"] = (0 if first_is_main else 1) if along == 1 else UNSURE
