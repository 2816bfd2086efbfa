"""`shapes_captions`: clips of `shapes` with captions instead of classes, for offline text-video retrieval.

Clips come in pairs of twins: the same figures at the same positions on the same background, but one clip runs
backwards. The captions of twins differ only in the motion, so a method that averages frames chooses the right twin at
most half of the time. Each clip has four captions that state the same in different words.

Figures are drawn without repeats: up to 20 clips of a motion and split have unique captions (15 if an arrow turns).
With more clips, captions repeat. Several clips are then right for one caption, but only one of them counts.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydantic import Field

from kinetext.core.plugins import Options
from kinetext.data.datasets.base import Clip, Dataset
from kinetext.data.motion.files import render, write_video
from kinetext.data.motion.kinds import check_pairs, draw_clip
from kinetext.data.motion.reversal import Reversal
from kinetext.data.motion.world import Look
from kinetext.data.scenes import BACKGROUNDS, COLOURS, SHAPES

PAIRS = Reversal.PAIRS
FORMAT_VERSION = 2  # raise it when clips change: their folder's name depends on it

# class of shapes -> two ways to say what happens
EVENTS = {
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
# pair of shapes -> state of the figure before and after the class that runs forwards
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


class ShapesCaptions(Dataset):
    """Rendered clips of moving shapes with captions."""

    class Config(Options):
        """The number of clips per motion and split, the pairs of motions, the seed, and the number of rendering
        processes.
        """

        train: int = Field(40, ge=0, description="training clips per motion")
        val: int = Field(5, ge=0, description="validation clips per motion")
        test: int = Field(10, ge=0, description="test clips per motion")
        pairs: tuple[str, ...] = Field(
            tuple(PAIRS), min_length=1, description="pairs of motions to make: time reversals of shapes"
        )
        seed: int = Field(0, ge=0, description="random seed")
        workers: int = Field(2, ge=1, description="processes that render")

        def model_post_init(self, context: object, /) -> None:
            """Raise ValueError if a pair does not exist."""
            check_pairs(self.pairs, tuple(PAIRS))

    config: Config
    captioned = True

    def list_clips(self, folder: Path) -> Iterator[Clip]:
        """Render the clips whose files are missing, then yield all clips, twins side by side."""
        version = f"captions {FORMAT_VERSION} {self.config.seed}"
        root = folder / hashlib.sha256(version.encode()).hexdigest()[:12]
        clips, missing = [], []
        for pair in self.config.pairs:
            for split in ("train", "val", "test"):
                choices = looks(pair, split, self.config.seed)
                for number in range(getattr(self.config, split)):
                    for label in PAIRS[pair]:
                        clip_id = f"{split}/{label.replace(' ', '_')}/{number:04d}"
                        path, look = (root / f"{clip_id}.mp4").resolve(), choices[number % len(choices)]
                        clips.append(Clip(clip_id, path, split, captions=captions(label, look)))
                        if not path.exists():
                            missing.append((path, label, look, f"{version} {split}/{pair}/{number}"))
        render(_render, missing, self.config.workers)
        yield from clips


def looks(pair: str, split: str, seed: int) -> list[Look]:
    """Return all appearances that captions of a pair can distinguish, in a random order.

    The order depends on the seed, the split and the pair.
    """
    subjects: list[tuple[str, str, str | None]]
    if pair == "turn":  # the figure is always an arrow, so the background varies, too
        subjects = [(colour, "arrow", background) for colour in COLOURS for background in BACKGROUNDS]
    else:
        subjects = [(colour, shape, None) for colour in COLOURS for shape in SHAPES[:-1]]
    digest = hashlib.sha256(f"{seed} {split} {pair}".encode()).digest()
    order = np.random.default_rng(list(digest)).permutation(len(subjects))
    chosen = [subjects[i] for i in order]
    others = chosen[1:] + chosen[:1]
    return [
        Look(colour, shape, other_colour, other_shape, background)
        for (colour, shape, background), (other_colour, other_shape, _) in zip(chosen, others, strict=True)
    ]


def captions(label: str, look: Look) -> list[str]:
    """Return the four captions of a clip of class `label` with appearance `look`."""
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
    first, second = EVENTS[label]
    return [
        f"{subject} {first}",
        f"{subject} {second}",
        f"{subject} {are} {before} and then {after}",
        f"at first {subject} {are} {before}, at the end {after}",
    ]


def _render(job: tuple[Path, str, Look, str]) -> None:
    """Render one clip (path, class, appearance, key of the random numbers).

    Twins have the same key, so that they differ only in their motion and pixel noise.
    """
    path, label, look, key = job
    random = np.random.default_rng(list(hashlib.sha256(key.encode()).digest()))
    write_video(draw_clip(label, random, look), path)
