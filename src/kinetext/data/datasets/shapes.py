"""`shapes`, the built-in data set: rendered clips of moving figures, written as real H.264 files.

Classes come in pairs that are exact time reversals of each other: a clip of one class, played backwards, is distributed
like a clip of the other. Only the order of the frames distinguishes the two, so a method that averages frames cannot
exceed one half within a pair. Shape, colour, size, background, distracting dots, noise and the speed profile are drawn
for every clip. The distribution of speed profiles is symmetric in time.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import av
import numpy as np
from pydantic import Field

from kinetext.core.files import atomic_write
from kinetext.core.plugins import Options
from kinetext.data.datasets.base import Clip, Dataset
from kinetext.data.scenes import BACKGROUNDS, COLOURS, SHAPES, Figure, Scene, distractors, draw_scene, jittered_colour

# pair -> the class that runs forwards, the class that runs backwards
PAIRS = {
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
NUM_FRAMES, FPS = 24, 12  # 24 = 3 x 8: the centres of 8 segments read the same forwards and backwards
FORMAT_VERSION = 2  # raise it when clips change: their folder's name depends on it


@dataclass(frozen=True)
class Look:
    """The prescribed appearance of a clip: its figures, named as in scenes.py, and the background."""

    colour: str
    shape: str
    other_colour: str
    other_shape: str
    background: str | None = None  # None: drawn


class Shapes(Dataset):
    """Rendered clips of moving shapes. The classes come in pairs that are time reversals of each other."""

    class Config(Options):
        """The clips per class and split, the pairs of classes, the pairs without training clips, the seed, and the
        workers.
        """

        train: int = Field(40, ge=0, description="training clips per class")
        val: int = Field(10, ge=0, description="validation clips per class")
        test: int = Field(20, ge=0, description="test clips per class")
        pairs: tuple[str, ...] = Field(tuple(PAIRS), description="pairs of classes to make")
        test_only: tuple[str, ...] = Field((), description="pairs that get test clips only")
        seed: int = Field(0, ge=0, description="of every random choice")
        workers: int = Field(2, ge=1, description="processes that render")

        def model_post_init(self, context: object, /) -> None:
            """Raise ValueError if a pair does not exist."""
            check_pairs((*self.pairs, *self.test_only))

    config: Config

    def list_clips(self, folder: Path) -> Iterator[Clip]:
        """Render the clips whose files are missing, then yield all clips."""
        version = f"{FORMAT_VERSION} {self.config.seed}"
        root = folder / hashlib.sha256(version.encode()).hexdigest()[:12]
        clips = []
        for pair in self.config.pairs:
            for label in PAIRS[pair]:
                for split in ("test",) if pair in self.config.test_only else ("train", "val", "test"):
                    for number in range(getattr(self.config, split)):
                        clip_id = f"{split}/{label.replace(' ', '_')}/{number:04d}"
                        clips.append(Clip(clip_id, (root / f"{clip_id}.mp4").resolve(), split, label))
        missing = [clip for clip in clips if not clip.path.exists()]
        render(partial(render_clip, seed=self.config.seed), missing, self.config.workers)
        yield from clips

    def labels(self) -> list[str]:
        """Return the class names. The two classes of a pair follow each other."""
        return [label for pair in self.config.pairs for label in PAIRS[pair]]

    def declared_pairs(self) -> list[tuple[str, str]]:
        """Return the pairs of classes that are time reversals of each other."""
        return [PAIRS[pair] for pair in self.config.pairs]


CHUNK = 16  # clips that a worker renders at a time


def check_pairs(pairs: Sequence[str]) -> None:
    """Raise ValueError if a pair does not exist, or if `pairs` is empty."""
    unknown = [pair for pair in pairs if pair not in PAIRS]
    if unknown or not pairs:
        raise ValueError(f"no pair '{(unknown or [''])[0]}'; known: {', '.join(PAIRS)}")


def render(write: Callable[[Any], None], jobs: Sequence[Any], workers: int) -> None:
    """Call `write` on each job in `workers` processes. With one worker or few jobs, this process does all of them."""
    if workers == 1 or len(jobs) <= CHUNK:
        for job in jobs:
            write(job)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for _ in pool.map(write, jobs, chunksize=CHUNK):
            pass


def render_clip(clip: Clip, seed: int) -> None:
    """Write one clip: 24 frames of 64 x 64 px, 12 frames/s, H.264."""
    digest = hashlib.sha256(f"{seed} {clip.clip_id}".encode()).digest()
    write_video(draw_clip(str(clip.label), np.random.default_rng(list(digest))), clip.path)


def write_video(clip_frames: np.ndarray, path: Path) -> None:
    """Write frames, uint8 [T, H, W, 3], as H.264 with 12 frames/s. The bytes are the same on every machine."""
    # with x264's macroblock tree the bytes of some clips differ now and then; its assembler differs between CPUs
    reproducible = "mbtree=0:cpu-independent=1"
    with atomic_write(path) as part, av.open(str(part), "w", format="mp4") as container:
        options = {"crf": "20", "preset": "fast", "x264-params": reproducible}
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.height, stream.width, stream.pix_fmt = *clip_frames.shape[1:3], "yuv420p"
        stream.thread_count = 1
        for frame_HWC in clip_frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        container.mux(stream.encode())


def draw_clip(label: str, random: np.random.Generator, look: Look | None = None) -> np.ndarray:
    """Return the frames of one clip, uint8 [24, 64, 64, 3]. `look` prescribes the appearance; None means random."""
    pair = next(pair for pair, both in PAIRS.items() if label in both)
    world = _World(pair, random, look)
    progress = _progress(random)
    if label == PAIRS[pair][1]:
        progress = progress[::-1]
    return np.stack([draw_scene(world.scene(float(u)), random) for u in progress])


def _progress(random: np.random.Generator) -> np.ndarray:
    """Return the progress of the motion in each frame, 0 to 1: a pause, a smooth movement, a pause.

    The reversed progress has the same distribution: both pauses are drawn alike and the movement is symmetric.
    """
    before, after = random.uniform(0.0, 0.2, 2)
    time = np.clip((np.linspace(0.0, 1.0, NUM_FRAMES) - before) / (1.0 - before - after), 0.0, 1.0)
    power = random.uniform(0.8, 1.6)
    return time**power / (time**power + (1.0 - time) ** power)


class _World:
    """Everything in a clip that is drawn once and does not change. `scene` returns the still at a given progress."""

    def __init__(self, pair: str, random: np.random.Generator, look: Look | None) -> None:
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
        left_to_right, right_to_left = (0.2, 0.8), (0.8, 0.2)
        x_ends = {"across": left_to_right, "diagonal": left_to_right, "antidiagonal": right_to_left}.get(pair)
        y_ends = {"vertical": right_to_left, "diagonal": left_to_right, "antidiagonal": left_to_right}.get(pair)
        self.x = _ramp(random, *(x_ends or [random.uniform(0.2, 0.8)] * 2))
        self.y = _ramp(random, *(y_ends or [random.uniform(0.2, 0.8)] * 2))
        self.radius = _ramp(random, 0.1, 0.24) if pair == "size" else None
        self.angle = _ramp(random, -np.pi / 2, 0.0) if pair == "turn" else None
        self.openness, self.fade = random.uniform(0.0, 0.1), random.uniform(0.85, 1.0)
        self.light = random.uniform(-0.05, 0.05)
        self.meeting = random.uniform(0.0, np.pi)  # direction of the line that two figures meet on
        self.box_x, self.box_y = random.choice((0.3, 0.7)), random.uniform(0.3, 0.7)
        self.gate_side = random.choice((0.18, 0.82)) if random.random() < 0.5 or look else None

    def scene(self, u: float) -> Scene:
        """Return the still at progress u (0 to 1)."""
        main, brightness = self.main, self.background
        if self.pair == "light":
            brightness = 0.12 + 0.74 * u + self.light
        scene = Scene(brightness, self.tint, noise=self.noise)
        for dot, (dx, dy) in zip(self.dots, self.drifts, strict=True):
            scene.figures.append(Figure(dot.shape, dot.rgb, dot.x + dx * (u - 0.5), dot.y + dy * (u - 0.5), dot.radius))
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


def _ramp(random: np.random.Generator, start: float, end: float) -> Callable[[float], float]:
    """Return a linear function of the progress from `start` to `end`. Both ends are changed at random by up to 0.05."""
    a, b = start + random.uniform(-0.05, 0.05), end + random.uniform(-0.05, 0.05)
    return lambda u: a + (b - a) * u


def _figure(random: np.random.Generator, colour: str | None, shape: str | None) -> Figure:
    """Return a figure of random size and angle, with the given colour and shape.

    Colour and shape are drawn even if they are given, so that later random numbers do not change.
    """
    drawn_colour = str(random.choice(list(COLOURS)))
    rgb = jittered_colour(colour or drawn_colour, random)
    drawn_shape = str(random.choice(SHAPES[:-1]))  # not an arrow: it would have a direction
    return Figure(shape or drawn_shape, rgb, 0.5, 0.5, random.uniform(0.09, 0.19), random.uniform(-0.2, 0.2))
