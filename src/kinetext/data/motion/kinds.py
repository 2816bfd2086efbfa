"""All kinds of motion with their pairs of classes, and the drawing of a clip of any class.

What a method must see differs between kinds: `reversal` the ends of a clip, `loop` the way in between, `sequence` the
order of two events, `count` how often something happens, and `rhythm` when it is fast.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from kinetext.core.plugins import nearest
from kinetext.data.motion import count, loop, reversal, rhythm, sequence
from kinetext.data.motion.levels import LEVELS, draw_level
from kinetext.data.motion.world import Look, World
from kinetext.data.scenes import draw_scene

KINDS: dict[str, type[World]] = {
    "reversal": reversal.Reversal,
    "loop": loop.Loop,
    "sequence": sequence.Sequence,
    "count": count.Count,
    "rhythm": rhythm.Rhythm,
}
KIND_OF_PAIR = {pair: kind for kind, world in KINDS.items() for pair in world.PAIRS}
CLASSES = {pair: KINDS[kind].PAIRS[pair] for pair, kind in KIND_OF_PAIR.items()}  # of each pair
PAIR_OF_CLASS = {label: pair for pair, labels in CLASSES.items() for label in labels}


def choose_pairs(kinds: Sequence[str], pairs: Sequence[str]) -> tuple[str, ...]:
    """Return the pairs to make: `pairs`, or all pairs of the kinds if there are none.

    Raises ValueError if a kind or a pair does not exist, or if neither is given.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise ValueError(f"kinds: no kind of motion '{unknown[0]}'{nearest(unknown[0], list(KINDS))}")
    if not kinds and not pairs:
        raise ValueError(f"kinds: is empty, and no pairs are named; known: {', '.join(KINDS)}")
    check_pairs(pairs)
    return tuple(pairs) or tuple(pair for kind in kinds for pair in KINDS[kind].PAIRS)


def check_pairs(pairs: Sequence[str], known: Sequence[str] = tuple(CLASSES)) -> None:
    """Raise ValueError if a pair is not among the known ones."""
    unknown = [pair for pair in pairs if pair not in known]
    if unknown:
        raise ValueError(f"no pair '{unknown[0]}'{nearest(unknown[0], list(known))}")


def rivals(pair: str) -> list[tuple[str, str]]:
    """Return each two classes of a pair, neighbours first: twice is easier to confuse with three times than once is."""
    labels = CLASSES[pair]
    return sorted(combinations(labels, 2), key=lambda two: labels.index(two[1]) - labels.index(two[0]))


def draw_clip(label: str, random: np.random.Generator, look: Look | None = None, level: int = 0) -> np.ndarray:
    """Return the frames of one clip, uint8 [24, 64, 64, 3].

    `look` prescribes the appearance; None means random. `level` is the difficulty (levels.py).
    """
    pair = PAIR_OF_CLASS[label]
    added = random.spawn(1)[0] if level else random  # so that a clip shows the same motion on every level
    world = KINDS[KIND_OF_PAIR[pair]](pair, random, look)
    progress_T = world.progress(CLASSES[pair].index(label), random)
    scenes = (world.scene(float(u)) for u in progress_T)
    if level:
        return draw_level(scenes, LEVELS[level], added)
    return np.stack([draw_scene(scene, random) for scene in scenes])
