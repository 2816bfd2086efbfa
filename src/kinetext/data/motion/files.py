"""Write rendered clips as real H.264 files, in several processes."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np

from kinetext.core.files import atomic_write
from kinetext.video.pool import NoResult, map_with_timeout

FPS = 12
CHUNK = 16  # clips that a worker renders at a time
LIMIT_S = 3600  # for a chunk


def render(write: Callable[[Any], None], jobs: Sequence[Any], workers: int) -> None:
    """Call `write` on each job in `workers` processes. With one worker or few jobs, this process does all of them.

    This process also does what a worker could not, so that it raises the error.
    """
    if workers == 1 or len(jobs) <= CHUNK:
        _write_each(write, jobs)
        return
    chunks = [jobs[first : first + CHUNK] for first in range(0, len(jobs), CHUNK)]
    results = map_with_timeout(partial(_write_each, write), chunks, LIMIT_S, workers, preload=[__name__])
    for chunk, result in zip(chunks, results, strict=True):
        if isinstance(result, NoResult):
            _write_each(write, chunk)


def _write_each(write: Callable[[Any], None], jobs: Sequence[Any]) -> None:
    for job in jobs:
        write(job)


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
