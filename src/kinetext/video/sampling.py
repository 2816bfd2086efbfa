"""Choose frames of a clip from their times or their number only, so that every method gets the same frames.

Most rules use frame indices, as the papers' code does, and not times. The two differ for variable frame rates, which
decode.py reports (`vfr`). If a clip has fewer frames than wanted, frames are repeated. Indices ascend.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence

import numpy as np

from kinetext.config.data import FrameOptions

Sampler = Callable[[Sequence[float]], list[int]]


def sampler(options: FrameOptions) -> Sampler:
    """Return a function that maps the times of a clip's frames (seconds, ascending) to frame indices.

    It returns `num_frames` indices, chosen by the rule `sampling`.
    """
    T = options.num_frames
    samplers: dict[str, Sampler] = {
        "uniform": lambda times_s: uniform_indices(len(times_s), T),
        "uniform_time": lambda times_s: uniform_time_indices(times_s, T),
        "segment": lambda times_s: segment_indices(len(times_s), T),
        "dense": lambda times_s: dense_indices(len(times_s), T, options.stride),
        "rate": lambda times_s: rate_indices(times_s, T, options.rate_fps),
    }
    return samplers[options.sampling]


def uniform_indices(num_frames: int, num_wanted: int) -> list[int]:
    """Return the indices of the centres of `num_wanted` equal segments of a clip (TSN, Wang et al., ECCV 2016).

    Raises ValueError if the clip has no frame.
    """
    _check(num_frames)
    # floor((i + 1/2) n / T) in integers, free of rounding errors
    return [(2 * i + 1) * num_frames // (2 * num_wanted) for i in range(num_wanted)]


def uniform_time_indices(times_s: Sequence[float], num_wanted: int) -> list[int]:
    """Return the indices of the frames shown at the centres of `num_wanted` segments of equal duration.

    Raises ValueError if the clip has no frame.
    """
    _check(len(times_s))
    duration_s = times_s[-1] - times_s[0] + _step_s(times_s)  # the last frame is shown for a step, too
    return _shown_at(times_s, [(i + 0.5) * duration_s / num_wanted for i in range(num_wanted)])


def segment_indices(num_frames: int, num_wanted: int) -> list[int]:
    """Return the indices that STAN's released code samples at test time.

    The segments are (n - 1) / T long. Their starts are rounded half to even, and half the segment length is rounded
    down (mmaction/datasets/transforms/loading.py:451-478). Raises ValueError if the clip has no frame.
    """
    _check(num_frames)
    segment = (num_frames - 1) / num_wanted
    return [min(int(np.round(segment * i)) + int(segment / 2), num_frames - 1) for i in range(num_wanted)]


def dense_indices(num_frames: int, num_wanted: int, stride: int) -> list[int]:
    """Return the indices of every `stride`-th frame around the middle of a clip.

    This is the sampling of Carreira and Zisserman (CVPR 2017), AIM and ST-Adapter. If the clip is too short, its last
    frame is repeated, as in PySlowFast's temporal_sampling. Raises ValueError if the clip has no frame.
    """
    _check(num_frames)
    first = max(0, (num_frames - (num_wanted - 1) * stride - 1) // 2)
    return [min(first + i * stride, num_frames - 1) for i in range(num_wanted)]


def rate_indices(times_s: Sequence[float], num_wanted: int, rate_fps: float) -> list[int]:
    """Return the indices of frames at a fixed rate from the start of a clip.

    Text-video retrieval uses 1 frame/s (CLIP4Clip, Neurocomputing 2022). If there are more than `num_wanted` such
    frames, the centres of equal segments are taken; if there are fewer, some are repeated. Raises ValueError if the
    clip has no frame.
    """
    _check(len(times_s))
    duration_s = times_s[-1] - times_s[0] + _step_s(times_s)
    count = max(1, int(np.ceil(duration_s * rate_fps - 1e-6)))
    at_rate = _shown_at(times_s, [k / rate_fps for k in range(count)])
    return [at_rate[i] for i in uniform_indices(len(at_rate), num_wanted)]


Choice = Callable[[int, Sequence[int] | None], list[int]]


def choice(sampling: str, num_wanted: int | None, stride: int = 1) -> Choice:
    """Return a function (number of stored frames, draw) -> indices that chooses the frames of an item.

    `draw` (seed, epoch, index) determines random choices. If it is None, as in validation, the middle of each range is
    taken.
    """

    def choose(stored: int, draw: Sequence[int] | None) -> list[int]:
        T = num_wanted or stored
        if sampling == "uniform" or draw is None:
            return view_indices(sampling, stored, T, stride, 0, 1)
        random = np.random.default_rng([*draw, 1])
        if sampling == "segment":
            return [min(int((i + u) * stored / T), stored - 1) for i, u in enumerate(random.random(T))]
        first = int(random.integers(max(1, stored - (T - 1) * stride)))
        return [min(first + i * stride, stored - 1) for i in range(T)]

    return choose


def view_indices(sampling: str, stored: int, num_wanted: int, stride: int, view: int, views: int) -> list[int]:
    """Return the indices of the stored frames of temporal clip `view` of `views`.

    With segments, each view takes another position within each segment: the centres of `views` equal parts. Dense views
    start at equal steps; the first begins with the first frame and the last ends with the last frame (Wang et al.,
    Non-local, CVPR 2018). A single view takes the centres of the segments, or the middle of the clip.
    """
    _check(stored)
    if sampling != "dense":
        return [(2 * (i * views + view) + 1) * stored // (2 * num_wanted * views) for i in range(num_wanted)]
    last_start = max(0, stored - (num_wanted - 1) * stride - 1)
    first = round(view * last_start / (views - 1)) if views > 1 else last_start // 2
    return [min(first + i * stride, stored - 1) for i in range(num_wanted)]


def _shown_at(times_s: Sequence[float], offsets_s: list[float]) -> list[int]:
    """Return the index of the frame shown at each offset from the clip's start, with a tolerance of a microsecond."""
    return [max(0, bisect_right(times_s, times_s[0] + offset_s + 1e-6) - 1) for offset_s in offsets_s]


def _step_s(times_s: Sequence[float]) -> float:
    return (times_s[-1] - times_s[0]) / (len(times_s) - 1) if len(times_s) > 1 else 0.0


def _check(num_frames: int) -> None:
    if num_frames < 1:
        raise ValueError(f"sampling: a clip of {num_frames} frames has nothing to sample")
