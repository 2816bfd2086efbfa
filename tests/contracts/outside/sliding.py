"""A data set from outside: a white square that slides to the left, to the right, up or down."""

import av
import numpy as np
from pydantic import Field

from kinetext.core.plugins import Options
from kinetext.data.datasets.base import Clip, Dataset

STEPS = {"sliding left": (0, -4), "sliding right": (0, 4), "sliding up": (-4, 0), "sliding down": (4, 0)}


class Sliding(Dataset):
    """Rendered clips of two motions and their reversals."""

    class Config(Options):
        """Number of clips."""

        train: int = Field(2, ge=1, description="training clips per class")
        test: int = Field(1, ge=1, description="test clips per class")

    def list_clips(self, folder):
        """Yield the clips, rendered into the folder."""
        for label, step in STEPS.items():
            for split, count in (("train", self.config.train), ("test", self.config.test)):
                for i in range(count):
                    name = f"{label.replace(' ', '-')}-{split}-{i}"
                    path = folder / f"{name}.mp4"
                    if not path.exists():
                        render(path, np.random.default_rng([i, split == "test"]).integers(18, 30, 2), step)
                    yield Clip(name, path, split, label)

    def declared_pairs(self):
        """Return each motion with its reversal, both ways."""
        left, right, up, down = STEPS
        return [(left, right), (right, left), (up, down), (down, up)]


def render(path, start, step):
    """Write 8 frames of 64 x 64 pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for t in range(8):
            image = np.zeros((64, 64, 3), np.uint8)
            y, x = start + (t - 4) * np.array(step)
            image[y : y + 16, x : x + 16] = 255
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        output.mux(stream.encode(None))
