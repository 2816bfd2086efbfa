"""Rendered shapes with two labels a clip, its motion and its colour, in a list of the data set `csv`."""

from pathlib import Path

import numpy as np

from kinetext.data.motion.files import write_video
from kinetext.data.motion.kinds import draw_clip
from kinetext.data.motion.world import Look

MOTIONS, COLOURS = ("moving right", "moving left"), ("red", "blue")
LABELS = sorted((*MOTIONS, *COLOURS))


def write_clips(folder: Path, train: int = 2, val: int = 1, test: int = 1) -> dict[str, object]:
    """Render clips of every motion in every colour; return the options of the data set."""
    rows = []
    for number, (motion, colour) in enumerate((m, c) for m in MOTIONS for c in COLOURS):
        for split, count in (("train", train), ("val", val), ("test", test)):
            for clip in range(count):
                name = f"{split}-{number}-{clip}.mp4"
                random = np.random.default_rng([number, len(split), clip])
                write_video(
                    draw_clip(motion, random, Look(colour, "circle", colour, "circle")), folder / "videos" / name
                )
                if clip % 2:  # one label in each of two rows
                    rows += [f"{name},{split},{motion}", f"{name},{split},{colour}"]
                else:
                    rows.append(f"{name},{split},{motion.replace(' ', '_')}|{colour}")
    (folder / "list.csv").write_text("path,split,label\n" + "".join(f"{row}\n" for row in rows))
    return {"root": str(folder / "videos"), "list": str(folder / "list.csv"), "multi_label": True}
