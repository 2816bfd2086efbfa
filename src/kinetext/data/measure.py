"""How long a clip is and in which format, without decoding it."""

from dataclasses import dataclass

from kinetext.config.data import FrameOptions
from kinetext.data.datasets.base import Clip
from kinetext.video.decode import is_vfr, window_ranks
from kinetext.video.demux import UnusableError, demux, opened, usable_stream
from kinetext.video.pool import Lost


@dataclass(frozen=True)
class Measured:
    """What the packets of a clip say."""

    num_frames: int
    duration_s: float
    resolution: str
    codec: str
    vfr: bool


def measure(options: FrameOptions, clip: Clip) -> Measured | Lost:
    """A clip's length and format by its packets, or why there is none."""
    if clip.error:
        return Lost(clip.error)
    try:
        with opened(clip.path) as container:
            stream = usable_stream(container, options.max_px)
            whole = clip.start_s is None and clip.end_s is None
            video = demux(container, stream, options.max_duration_s if whole else None)
            window = window_ranks(video.times_s, clip.start_s, clip.end_s)
            times_s = video.times_s[window.start : window.stop]
            step_s = (times_s[-1] - times_s[0]) / (len(times_s) - 1) if len(times_s) > 1 else 1 / video.rate
            size = f"{stream.width}x{stream.height}"
            return Measured(len(times_s), len(times_s) * step_s, size, video.codec, is_vfr(times_s))
    except UnusableError as error:
        return Lost(str(error))
