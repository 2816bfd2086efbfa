"""The contract of data sets (data/datasets/base.py), checked with a small configuration of each."""

from pathlib import Path

import av
import numpy as np
import pytest

import official
from captioned import WRITERS
from kinetext.contracts import Case, checks
from kinetext.core import plugins


def folder_options(folder: Path) -> dict:
    for split, label in (("train", "wave"), ("train", "nod"), ("test", "wave"), ("test", "nod")):
        path = folder / "videos" / split / label / "0.mp4"
        path.parent.mkdir(parents=True)
        with av.open(str(path), "w") as output:
            stream = output.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for i in range(10):
                frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * i, np.uint8), format="rgb24")
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    return {"root": str(folder / "videos")}


# data set -> a function of an empty folder to options with which it lists a few clips in a second
SMALL = {
    "folder": folder_options,
    "shapes": lambda folder: {"pairs": ["across", "gate"], "train": 1, "val": 0, "test": 1},
    "shapes_captions": lambda folder: {"pairs": ["across", "gate"], "train": 1, "val": 0, "test": 1},
    **WRITERS,
    **official.WRITERS,
}


@pytest.mark.parametrize("name", plugins.names("datasets"))
@pytest.mark.parametrize("check", checks("datasets"), ids=lambda check: check.__name__)
def test_contract(name, check, tmp_path):
    assert name in SMALL, f"data set '{name}' has no entry in SMALL; add a small config for it here"
    check(Case("datasets", name, tmp_path, SMALL[name](tmp_path)))
