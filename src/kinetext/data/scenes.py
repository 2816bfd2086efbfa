"""Draw one still image of the shapes world: a few flat figures on a noisy background, 64 x 64 px.

With this world the whole pipeline can be demonstrated offline. The small CLIP is pretrained on single stills drawn
here, and the clips of the data set `shapes` show the same figures in motion. Figures are signed-distance functions
evaluated on the pixel grid, so edges are antialiased and motion is smooth below one pixel.

Coordinates are fractions of the frame, x to the right and y downwards. Angles are radians: 0 points right, pi/2 down.
"""

from dataclasses import dataclass, field

import numpy as np

SIZE_PX = 64
SHAPES = ("circle", "square", "triangle", "cross", "arrow")
COLOURS = {
    "red": (0.90, 0.15, 0.12),
    "green": (0.15, 0.75, 0.20),
    "blue": (0.15, 0.30, 0.95),
    "yellow": (0.95, 0.85, 0.10),
    "purple": (0.70, 0.20, 0.85),
}
BACKGROUNDS = {"dark": 0.12, "grey": 0.48, "light": 0.86}  # brightness, 0 to 1
RADIUS = {"small": 0.085, "medium": 0.145, "large": 0.23}
POSITIONS = {
    f"{row} {column}".replace("middle centre", "centre").replace("middle ", "").replace(" centre", ""): (x, y)
    for row, y in (("top", 0.2), ("middle", 0.5), ("bottom", 0.8))
    for column, x in (("left", 0.2), ("centre", 0.5), ("right", 0.8))
}
DIRECTIONS = {"right": 0.0, "down": np.pi / 2, "left": np.pi, "up": -np.pi / 2}  # of an arrow, radians

_CENTRES = (np.arange(SIZE_PX, dtype=np.float32) + 0.5) / SIZE_PX
X_HW, Y_HW = np.meshgrid(_CENTRES, _CENTRES)  # pixel centres


@dataclass
class Figure:
    """One figure: its shape, colour, position, radius (fraction of the frame), angle and opacity (0 to 1)."""

    shape: str
    rgb: tuple[float, float, float]
    x: float
    y: float
    radius: float
    angle: float = 0.0
    opacity: float = 1.0


@dataclass
class Scene:
    """Everything in one still.

    `gate` is the opening of the gate from 0 (closed) to 1 (open), or None without a gate. `noise` is the standard
    deviation of the pixel noise. `texture_HW` is added to the brightness of the background.
    """

    brightness: float
    tint: tuple[float, float, float] = (0.0, 0.0, 0.0)
    figures: list[Figure] = field(default_factory=list)
    gate: float | None = None
    noise: float = 0.0
    texture_HW: np.ndarray | None = None


def draw_scene(scene: Scene, random: np.random.Generator) -> np.ndarray:
    """Draw a scene as uint8 [64, 64, 3]. Only the pixel noise is drawn from `random`."""
    image_HWC = np.empty((SIZE_PX, SIZE_PX, 3), np.float32)
    image_HWC[:] = scene.brightness + np.asarray(scene.tint, np.float32)
    if scene.texture_HW is not None:
        image_HWC += scene.texture_HW[:, :, None]
    if scene.gate is not None:
        half_gap = 0.03 + 0.36 * scene.gate
        bars_HW = _coverage(np.maximum(np.abs(X_HW - 0.5) - 0.05, half_gap - np.abs(Y_HW - 0.5)))
        _paint(image_HWC, bars_HW, (0.55, 0.35, 0.15))
    for figure in scene.figures:
        _paint(image_HWC, figure.opacity * _coverage(_distance(figure)), figure.rgb)
    if scene.noise:
        image_HWC += random.normal(0.0, scene.noise, image_HWC.shape).astype(np.float32)
    return (np.clip(image_HWC, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def _coverage(distance_HW: np.ndarray) -> np.ndarray:
    """Return the fraction of each pixel that is inside a figure.

    `distance_HW` is the distance of each pixel centre to the outline, negative inside, as a fraction of the frame.
    """
    return np.clip(0.5 - distance_HW * SIZE_PX, 0.0, 1.0)


def _paint(image_HWC: np.ndarray, coverage_HW: np.ndarray, rgb: tuple[float, float, float]) -> None:
    image_HWC += coverage_HW[:, :, None] * (np.asarray(rgb, np.float32) - image_HWC)


def _distance(figure: Figure) -> np.ndarray:
    """Return the distance [H, W] to the outline of a figure, negative inside, as a fraction of the frame.

    It is exact only near the outline. Raises ValueError if the shape is unknown.
    """
    cos, sin = np.float32(np.cos(figure.angle)), np.float32(np.sin(figure.angle))
    dx, dy = (X_HW - np.float32(figure.x)) / figure.radius, (Y_HW - np.float32(figure.y)) / figure.radius
    x, y = dx * cos + dy * sin, dy * cos - dx * sin  # coordinates of the figure, radius 1
    match figure.shape:
        case "circle":
            d = np.sqrt(x * x + y * y) - 1.0
        case "square":
            d = np.maximum(np.abs(x), np.abs(y)) - 0.85
        case "triangle":
            d = np.maximum(0.87 * np.abs(x) - 0.5 * y, y) - 0.5
        case "cross":
            a, b = np.abs(x), np.abs(y)
            d = np.minimum(np.maximum(a - 1.0, b - 0.3), np.maximum(a - 0.3, b - 1.0))
        case "arrow":  # a shaft and a head that points along +x
            shaft = np.maximum(np.abs(x + 0.45) - 0.6, np.abs(y) - 0.24)
            head = np.maximum(0.64 * x + 0.77 * np.abs(y) - 0.7, -x)
            d = np.minimum(shaft, head)
        case "box":  # an outline
            d = np.abs(np.maximum(np.abs(x), np.abs(y)) - 0.92) - 0.1
        case other:
            raise ValueError(f"figure.shape: no shape '{other}'; known: {', '.join(SHAPES)}, box")
    return d * np.float32(figure.radius)


def distractors(count: int, brightness: float, random: np.random.Generator) -> list[Figure]:
    """Return random distracting dots, which are too small and pale to be mistaken for a figure."""
    dots = []
    for _ in range(count):
        grey = float(np.clip(brightness + random.choice((-1, 1)) * random.uniform(0.06, 0.14), 0.0, 1.0))
        x, y = random.uniform(0.03, 0.97, 2)
        dots.append(Figure("circle", (grey, grey, grey), float(x), float(y), random.uniform(0.015, 0.03)))
    return dots


def jittered_colour(name: str, random: np.random.Generator) -> tuple[float, float, float]:
    """Return a named colour as RGB (0 to 1). Each channel is changed at random by at most 0.06."""
    r, g, b = np.clip(np.asarray(COLOURS[name]) + random.uniform(-0.06, 0.06, 3), 0.0, 1.0)
    return float(r), float(g), float(b)
