"""`shapes`, the built-in data set: rendered clips of moving figures, written as real H.264 files.

Classes come in pairs that show the same frames and differ in their order alone, so a method that averages frames cannot
exceed one half within a pair. Shape, colour, size, background, distracting dots, noise and the speed are drawn for
every clip. The pairs are of several kinds of motion (data/motion/kinds.py): time reversals, loops, sequences of events,
numbers of periods and rhythms. Each kind needs another view of time, so accuracy by kind shows what a method sees.
"""

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from kinetext.core.files import atomic_write
from kinetext.core.plugins import Options
from kinetext.data.datasets.base import Clip, Dataset
from kinetext.data.drawing import drawing_version
from kinetext.data.motion.files import render, write_video
from kinetext.data.motion.kinds import CLASSES, KIND_OF_PAIR, check_pairs, choose_pairs, draw_clip, rivals
from kinetext.data.motion.levels import LEVELS

FORMAT_VERSION = 2  # raise it when clips change: their folder's name depends on it
RECORD = "drawing_version.txt"  # of the code that drew all clips of a folder; empty if several versions drew them


class Shapes(Dataset):
    """Rendered clips of moving shapes. The classes of a pair differ in motion only."""

    class Config(Options):
        """The clips per class and split, the kinds of motion or the pairs of classes, the pairs without training
        clips, the difficulty, the seed, and the workers.
        """

        train: int = Field(40, ge=0, description="training clips per class")
        val: int = Field(10, ge=0, description="validation clips per class")
        test: int = Field(20, ge=0, description="test clips per class")
        kinds: tuple[str, ...] = Field(
            ("reversal",), description="kinds of motion: reversal, loop, sequence, count, rhythm; no effect with pairs"
        )
        pairs: tuple[str, ...] = Field((), description="pairs of classes to make; empty: all pairs of the kinds")
        test_only: tuple[str, ...] = Field((), description="pairs that get test clips only")
        level: int = Field(
            0,
            ge=0,
            lt=len(LEVELS),
            description="difficulty: 0 is plain; more objects, texture, camera drift and noise up to 3",
        )
        seed: int = Field(0, ge=0, description="random seed")
        workers: int = Field(2, ge=1, description="processes that render")

        def model_post_init(self, context: object, /) -> None:
            """Raise ValueError if a kind or a pair does not exist."""
            choose_pairs(self.kinds, self.pairs)
            check_pairs(self.test_only)

    config: Config

    @property
    def pairs(self) -> tuple[str, ...]:
        """Return the pairs of classes to make."""
        return choose_pairs(self.config.kinds, self.config.pairs)

    def list_clips(self, folder: Path) -> Iterator[Clip]:
        """Render the clips whose files are missing, then yield all clips."""
        root = self._root(folder)
        clips = []
        for pair in self.pairs:
            for label in CLASSES[pair]:
                for split in ("test",) if pair in self.config.test_only else ("train", "val", "test"):
                    for number in range(getattr(self.config, split)):
                        clip_id = f"{split}/{label.replace(' ', '_')}/{number:04d}"
                        path = (root / f"{clip_id}.mp4").resolve()
                        clips.append(Clip(clip_id, path, split, label, kind=KIND_OF_PAIR[pair]))
        missing = [clip for clip in clips if not clip.path.exists()]
        if missing:
            _record_version(root)
        render(partial(render_clip, seed=self.config.seed, level=self.config.level), missing, self.config.workers)
        yield from clips

    def labels(self) -> list[str]:
        """Return the class names. The classes of a pair follow each other."""
        return [label for pair in self.pairs for label in CLASSES[pair]]

    def declared_pairs(self) -> list[tuple[str, str]]:
        """Return each two classes that show the same frames in another order."""
        return [classes for pair in self.pairs for classes in rivals(pair)]

    def drawing_info(self, media: Path) -> dict[str, Any]:
        """Return the level of difficulty and the version of the code that drew the files in `media`, None if unknown."""
        record = self._root(media) / RECORD
        return {"level": self.config.level, "version": (record.is_file() and record.read_text()) or None}

    def _root(self, media: Path) -> Path:
        """Return the folder of the clips of this seed and level."""
        level = f" level {self.config.level}" if self.config.level else ""
        version = f"{FORMAT_VERSION} {self.config.seed}{level}"
        return media / hashlib.sha256(version.encode()).hexdigest()[:12]


def _record_version(root: Path) -> None:
    """Record, before clips are added to a folder, the version of the code that draws; "" if others are there."""
    record, version = root / RECORD, drawing_version()
    recorded = record.read_text() if record.is_file() else None
    if recorded != version:
        with atomic_write(record) as part:
            part.write_text("" if any(root.rglob("*.mp4")) else version)


def render_clip(clip: Clip, seed: int, level: int = 0) -> None:
    """Write one clip: 24 frames of 64 x 64 px, 12 frames/s, H.264."""
    write_video(draw_clip(str(clip.label), clip_random(clip.clip_id, seed), level=level), clip.path)


def clip_random(clip_id: str, seed: int) -> np.random.Generator:
    """Return the random numbers of a clip, which depend on its name and the seed of the data set."""
    return np.random.default_rng(list(hashlib.sha256(f"{seed} {clip_id}".encode()).digest()))
