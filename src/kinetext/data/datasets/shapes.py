"""`shapes`: procedural clips of figures that move, written as real H.264 files. The embedded default.

Classes come in pairs that are exact time reversals of each other: a clip of one class, played backwards, has the same
law as a clip of the other. What tells them apart is the order of the frames and nothing else, so a method that averages
frames is bounded by one half inside a pair (reference/demo.md 2). Shape, colour, size, background, distracting dots,
noise and the speed profile (symmetric in law) are drawn anew for every clip.
"""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
from pydantic import Field

from kinetext.core.files import written_whole
from kinetext.core.plugins import Options
from kinetext.data.datasets import Clip
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
    """What a clip shows where that is chosen and not drawn: its figures, named as in scenes.py, and the background."""

    colour: str
    shape: str
    other_colour: str
    other_shape: str
    background: str | None = None  # None: drawn


class Config(Options):
    """How many clips of each class, and which pairs have no training clips."""

    train: int = Field(40, ge=0, description="training clips per class")
    val: int = Field(10, ge=0, description="validation clips per class")
    test: int = Field(20, ge=0, description="test clips per class")
    pairs: tuple[str, ...] = Field(tuple(PAIRS), description="pairs of classes to make")
    test_only: tuple[str, ...] = Field((), description="pairs that get test clips only")
    seed: int = Field(0, ge=0, description="of every random choice")
    workers: int = Field(2, ge=1, description="processes that render")

    def model_post_init(self, context: object, /) -> None:
        """Refuse a pair that does not exist."""
        unknown = [pair for pair in (*self.pairs, *self.test_only) if pair not in PAIRS]
        if unknown or not self.pairs:
            raise ValueError(f"no pair '{(unknown or [''])[0]}'; known: {', '.join(PAIRS)}")


def list_clips(config: Config, folder: Path) -> Iterator[Clip]:
    """Render what is not there yet, then list every clip."""
    made_by = f"{FORMAT_VERSION} {config.seed}"
    root = folder / hashlib.sha256(made_by.encode()).hexdigest()[:12]
    clips = []
    for pair in config.pairs:
        for label in PAIRS[pair]:
            for split in ("test",) if pair in config.test_only else ("train", "val", "test"):
                for number in range(getattr(config, split)):
                    clip_id = f"{split}/{label.replace(' ', '_')}/{number:04d}"
                    clips.append(Clip(clip_id, (root / f"{clip_id}.mp4").resolve(), split, label))
    missing = [clip for clip in clips if not clip.path.exists()]
    if missing:
        with ProcessPoolExecutor(config.workers, mp_context=get_context("spawn")) as pool:
            for _ in pool.map(partial(render_clip, seed=config.seed), missing, chunksize=16):
                pass
    yield from clips


def labels(config: Config) -> list[str]:
    """Class names, the two of a pair side by side."""
    return [label for pair in config.pairs for label in PAIRS[pair]]


def given_pairs(config: Config) -> list[tuple[str, str]]:
    """The time reversals."""
    return [PAIRS[pair] for pair in config.pairs]


def render_clip(clip: Clip, seed: int) -> None:
    """Write one clip: 24 frames of 64 x 64 px at 12 frames a second, H.264."""
    digest = hashlib.sha256(f"{seed} {clip.clip_id}".encode()).digest()
    write_video(draw_clip(str(clip.label), np.random.default_rng(list(digest))), clip.path)


def write_video(clip_frames: np.ndarray, path: Path) -> None:
    """Write frames, uint8 [T, H, W, 3], at 12 frames a second, H.264, with the same bytes each time on every machine."""
    # with x264's macroblock tree the bytes of some clips differ now and then; its assembler differs between CPUs
    same = "mbtree=0:cpu-independent=1"
    with written_whole(path) as part, av.open(str(part), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "20", "preset": "fast", "x264-params": same})
        stream.height, stream.width, stream.pix_fmt = *clip_frames.shape[1:3], "yuv420p"
        stream.thread_count = 1
        for frame_HWC in clip_frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        container.mux(stream.encode())


def draw_clip(label: str, random: np.random.Generator, look: Look | None = None) -> np.ndarray:
    """The frames of one clip, uint8 [24, 64, 64, 3]; with a look, of those figures."""
    pair = next(pair for pair, both in PAIRS.items() if label in both)
    scene_at = _world(pair, random, look)
    progress = _progress(random)
    if label == PAIRS[pair][1]:
        progress = progress[::-1]
    return np.stack([draw_scene(scene_at(float(u)), random) for u in progress])


def _progress(random: np.random.Generator) -> np.ndarray:
    """How far the motion has come in each frame, 0 to 1: a pause, an eased move, a pause. Read backwards, its law is
    the same: both pauses are drawn alike and the easing is symmetric.
    """
    before, after = random.uniform(0.0, 0.2, 2)
    time = np.clip((np.linspace(0.0, 1.0, NUM_FRAMES) - before) / (1.0 - before - after), 0.0, 1.0)
    power = random.uniform(0.8, 1.6)
    return time**power / (time**power + (1.0 - time) ** power)


def _world(pair: str, random: np.random.Generator, look: Look | None) -> Callable[[float], Scene]:
    """Draw what stays the same in a clip; the function that comes back gives the scene at a progress u of 0 to 1."""
    background = float(random.choice(list(BACKGROUNDS.values())))
    if look and look.background:
        background = BACKGROUNDS[look.background]
    background += random.uniform(-0.07, 0.07)
    tint = tuple(random.uniform(-0.04, 0.04, 3))
    noise = random.uniform(0.0, 0.05)
    dots = distractors(int(random.integers(0, 5)), background, random)
    drifts = random.uniform(-0.2, 0.2, (len(dots), 2))
    main = _figure(random, look.colour if look else None, look.shape if look else None)
    other = _figure(random, look.other_colour if look else None, look.other_shape if look else None)

    def ramp(start: float, end: float) -> Callable[[float], float]:
        a, b = start + random.uniform(-0.05, 0.05), end + random.uniform(-0.05, 0.05)
        return lambda u: a + (b - a) * u

    if pair in ("across", "diagonal"):
        main_x = ramp(0.2, 0.8)
    elif pair == "antidiagonal":
        main_x = ramp(0.8, 0.2)
    else:
        main_x = ramp(*[random.uniform(0.2, 0.8)] * 2)
    if pair == "vertical":
        main_y = ramp(0.8, 0.2)
    elif pair in ("diagonal", "antidiagonal"):
        main_y = ramp(0.2, 0.8)
    else:
        main_y = ramp(*[random.uniform(0.2, 0.8)] * 2)
    radius = ramp(0.1, 0.24) if pair == "size" else None
    angle = ramp(-np.pi / 2, 0.0) if pair == "turn" else None
    openness, fade, light = random.uniform(0.0, 0.1), random.uniform(0.85, 1.0), random.uniform(-0.05, 0.05)
    meeting = random.uniform(0.0, np.pi)  # direction of the line that two figures meet on
    box_x, box_y = random.choice((0.3, 0.7)), random.uniform(0.3, 0.7)
    gate_side = random.choice((0.18, 0.82)) if random.random() < 0.5 or look else None

    def scene_at(u: float) -> Scene:
        brightness = 0.12 + 0.74 * u + light if pair == "light" else background
        scene = Scene(brightness, tint, noise=noise)
        for dot, (dx, dy) in zip(dots, drifts, strict=True):
            scene.figures.append(Figure(dot.shape, dot.rgb, dot.x + dx * (u - 0.5), dot.y + dy * (u - 0.5), dot.radius))
        main.x, main.y = main_x(u), main_y(u)
        if pair == "size" and radius is not None:
            main.radius = max(radius(u), 0.06)
        elif pair == "turn" and angle is not None:
            main.shape, main.angle = "arrow", angle(u)
        elif pair == "visibility":
            main.opacity = u * fade
        elif pair == "gate":
            scene.gate = openness + (fade - openness) * u
            if gate_side is None:
                return scene
            main.x, main.radius = gate_side, min(main.radius, 0.15)
        elif pair == "distance":
            apart = (0.33 - 0.2 * u) * np.array((np.cos(meeting), np.sin(meeting)))
            main.x, main.y = 0.5 - apart[0], 0.5 - apart[1]
            other.x, other.y = 0.5 + apart[0], 0.5 + apart[1]
            main.radius, other.radius = min(main.radius, 0.11), min(other.radius, 0.11)
            scene.figures.append(other)
        elif pair == "box":
            grey = 0.95 if background < 0.5 else 0.05
            scene.figures.append(Figure("box", (grey, grey, grey), box_x, box_y, 0.23))
            far = 0.9 if box_x < 0.5 else 0.1
            main.x, main.y, main.radius = far + (box_x - far) * u, box_y, min(main.radius, 0.1)
        scene.figures.append(main)
        return scene

    return scene_at


def _figure(random: np.random.Generator, colour: str | None, shape: str | None) -> Figure:
    drawn = str(random.choice(list(COLOURS)))
    rgb = jittered_colour(colour or drawn, random)
    drawn = str(random.choice(SHAPES[:-1]))  # an arrow would point somewhere
    return Figure(shape or drawn, rgb, 0.5, 0.5, random.uniform(0.09, 0.19), random.uniform(-0.2, 0.2))
