"""`shapes_captions`: clips of `shapes` with captions instead of classes, for text-video retrieval offline.

Clips come in twins: the same figures on the same background at the same places, the one clip running backwards. The
captions of twins differ by the motion and by nothing else, so a method that averages frames finds the right one of two
at best every other time, however well it sees. Each clip has four captions that say the same in other words.

The figures are drawn without repeats: up to 20 clips of a motion and split have captions of their own (15 where an
arrow turns); more than that repeat the words, and then an equal caption has several right clips, of which one counts.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from pydantic import Field

from kinetext.core.plugins import Options
from kinetext.data.datasets import Clip
from kinetext.data.datasets.shapes import PAIRS, Look, draw_clip, write_video
from kinetext.data.scenes import BACKGROUNDS, COLOURS, SHAPES

CAPTIONED = True
FORMAT_VERSION = 2  # raise it when clips change: their folder's name depends on it

# class of shapes -> two ways to say what happens
HAPPENS = {
    "moving right": ("moves to the right", "travels from left to right"),
    "moving left": ("moves to the left", "travels from right to left"),
    "rising": ("rises", "climbs from the bottom to the top"),
    "falling": ("falls", "sinks from the top to the bottom"),
    "growing": ("grows", "swells from small to large"),
    "shrinking": ("shrinks", "contracts from large to small"),
    "appearing": ("appears", "fades in"),
    "disappearing": ("disappears", "fades out"),
    "gate opening": ("opens", "is opened"),
    "gate closing": ("closes", "is closed"),
    "coming together": ("come together", "approach each other"),
    "moving apart": ("move apart", "separate from each other"),
    "arrow turning right": ("turns right", "turns away from pointing up"),
    "arrow turning up": ("turns up", "turns away from pointing right"),
    "sliding down right": ("slides down to the right", "slides away from the top left"),
    "sliding up left": ("slides up to the left", "slides away from the bottom right"),
    "sliding down left": ("slides down to the left", "slides away from the top right"),
    "sliding up right": ("slides up to the right", "slides away from the bottom left"),
    "going into the box": ("goes into the box", "enters the box"),
    "coming out of the box": ("comes out of the box", "leaves the box"),
    "lighting up": ("lights up", "becomes bright"),
    "going dark": ("goes dark", "becomes gloomy"),
}
# pair of shapes -> what the figure is like before and after the class that runs forwards
STATES = {
    "across": ("at the left", "at the right"),
    "vertical": ("at the bottom", "at the top"),
    "size": ("small", "large"),
    "visibility": ("faint", "solid"),
    "gate": ("closed", "open"),
    "distance": ("far apart", "close together"),
    "turn": ("pointing up", "pointing right"),
    "diagonal": ("at the top left", "at the bottom right"),
    "antidiagonal": ("at the top right", "at the bottom left"),
    "box": ("outside the box", "inside the box"),
    "light": ("dark", "light"),
}


class Config(Options):
    """How many clips of each motion."""

    train: int = Field(40, ge=0, description="training clips per motion")
    val: int = Field(5, ge=0, description="validation clips per motion")
    test: int = Field(10, ge=0, description="test clips per motion")
    pairs: tuple[str, ...] = Field(tuple(PAIRS), description="pairs of motions to make, as in shapes")
    seed: int = Field(0, ge=0, description="of every random choice")
    workers: int = Field(2, ge=1, description="processes that render")

    def model_post_init(self, context: object, /) -> None:
        """Refuse a pair that does not exist."""
        unknown = [pair for pair in self.pairs if pair not in PAIRS]
        if unknown or not self.pairs:
            raise ValueError(f"no pair '{(unknown or [''])[0]}'; known: {', '.join(PAIRS)}")


def list_clips(config: Config, folder: Path) -> Iterator[Clip]:
    """Render what is not there yet, then list every clip, twins side by side."""
    made_by = f"captions {FORMAT_VERSION} {config.seed}"
    root = folder / hashlib.sha256(made_by.encode()).hexdigest()[:12]
    clips, missing = [], []
    for pair in config.pairs:
        for split in ("train", "val", "test"):
            shown = looks(pair, split, config.seed)
            for number in range(getattr(config, split)):
                for label in PAIRS[pair]:
                    clip_id = f"{split}/{label.replace(' ', '_')}/{number:04d}"
                    path, look = (root / f"{clip_id}.mp4").resolve(), shown[number % len(shown)]
                    clips.append(Clip(clip_id, path, split, captions=captions(label, look)))
                    if not path.exists():
                        missing.append((path, label, look, f"{made_by} {split}/{pair}/{number}"))
    if missing:
        with ProcessPoolExecutor(config.workers, mp_context=get_context("spawn")) as pool:
            for _ in pool.map(_render, missing, chunksize=16):
                pass
    yield from clips


def looks(pair: str, split: str, seed: int) -> list[Look]:
    """Every look that the captions of a pair can tell apart, in an order of the split's own."""
    subjects: list[tuple[str, str, str | None]]
    if pair == "turn":  # an arrow in any case, so the background tells more of them apart
        subjects = [(colour, "arrow", background) for colour in COLOURS for background in BACKGROUNDS]
    else:
        subjects = [(colour, shape, None) for colour in COLOURS for shape in SHAPES[:-1]]
    digest = hashlib.sha256(f"{seed} {split} {pair}".encode()).digest()
    order = np.random.default_rng(list(digest)).permutation(len(subjects))
    chosen = [subjects[i] for i in order]
    beside = chosen[1:] + chosen[:1]
    return [
        Look(colour, shape, other_colour, other_shape, background)
        for (colour, shape, background), (other_colour, other_shape, _) in zip(chosen, beside, strict=True)
    ]


def captions(label: str, look: Look) -> list[str]:
    """What is said of a clip, in four ways."""
    pair = next(pair for pair, both in PAIRS.items() if label in both)
    before, after = STATES[pair] if label == PAIRS[pair][0] else STATES[pair][::-1]
    subject, are = f"a {look.colour} {look.shape}", "is"
    if look.background:
        subject += f" on a {look.background} background"
    if pair == "distance":
        subject, are = f"{subject} and a {look.other_colour} {look.other_shape}", "are"
    elif pair == "gate":
        subject = f"a gate beside {subject}"
    elif pair == "light":
        subject = f"the background of {subject}"
    first, second = HAPPENS[label]
    return [
        f"{subject} {first}",
        f"{subject} {second}",
        f"{subject} {are} {before} and then {after}",
        f"at first {subject} {are} {before}, at the end {after}",
    ]


def _render(job: tuple[Path, str, Look, str]) -> None:
    """Write one clip. Twins are drawn from the same random numbers; the noise of the pixels alone differs."""
    path, label, look, key = job
    random = np.random.default_rng(list(hashlib.sha256(key.encode()).digest()))
    write_video(draw_clip(label, random, look), path)
