"""Write rendered clips as real H.264 files, in several processes."""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import av
import numpy as np

from kinetext.core.files import atomic_write

FPS = 12
CHUNK = 16  # clips that a worker renders at a time


def render(write: Callable[[Any], None], jobs: Sequence[Any], workers: int) -> None:
    """Call `write` on each job in `workers` processes. With one worker or few jobs, this process does all of them."""
    if workers == 1 or len(jobs) <= CHUNK:
        for job in jobs:
            write(job)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for _ in pool.map(write, jobs, chunksize=CHUNK):
            pass


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
