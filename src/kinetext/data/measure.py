"""Measure the length and format of a clip without decoding it."""

from dataclasses import dataclass

from kinetext.config.data import FrameOptions
from kinetext.data.datasets.base import Clip
from kinetext.video.container import UnusableError, open_video, select_stream
from kinetext.video.decode import is_vfr, window_ranks
from kinetext.video.demux import demux
from kinetext.video.pool import NoResult


@dataclass(frozen=True)
class Measured:
    """Properties of a clip, read from its packets without decoding."""

    num_frames: int
    duration_s: float
    resolution: str
    codec: str
    vfr: bool
    pixel_aspect: float


def measure(options: FrameOptions, clip: Clip) -> Measured | NoResult:
    """Return the length and the format of a clip, or a NoResult with the reason why it cannot be read."""
    if clip.error:
        return NoResult(clip.error)
    try:
        with open_video(clip.path) as container:
            stream = select_stream(container, options.max_px)
            whole_file = clip.start_s is None and clip.end_s is None
            video = demux(container, stream, options.max_duration_s if whole_file else None)
            window = window_ranks(video.times_s, video.start_s, clip.start_s, clip.end_s)
            times_s = video.times_s[window.start : window.stop]
            step_s = (times_s[-1] - times_s[0]) / (len(times_s) - 1) if len(times_s) > 1 else 1 / video.fps
            size = f"{stream.width}x{stream.height}"
            return Measured(len(times_s), len(times_s) * step_s, size, video.codec, is_vfr(times_s), video.pixel_aspect)
    except UnusableError as error:
        return NoResult(str(error))
