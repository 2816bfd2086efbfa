"""Which frames of a clip are looked at: functions of the frames' times alone, so that every method sees the same ones.

Most go by frame index, as the papers' code does, not by time; the two differ in videos of variable frame rate, which
decode.py flags. Clips with fewer frames than wanted repeat frames. Indices ascend.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence

import numpy as np

from kinetext.config.data import FrameOptions

Indices = Callable[[Sequence[float]], list[int]]


def sampler(options: FrameOptions) -> Indices:
    """The function that chooses `num_frames` indices of a clip from the times of its frames, seconds, ascending."""
    T = options.num_frames
    choose: dict[str, Indices] = {
        "uniform": lambda times_s: uniform_indices(len(times_s), T),
        "uniform_time": lambda times_s: uniform_time_indices(times_s, T),
        "segment": lambda times_s: segment_indices(len(times_s), T),
        "dense": lambda times_s: dense_indices(len(times_s), T, options.stride),
        "rate": lambda times_s: rate_indices(times_s, T, options.rate_fps),
    }
    return choose[options.sampling]


def uniform_indices(num_frames: int, num_wanted: int) -> list[int]:
    """The centres of `num_wanted` equal segments of a clip (TSN, Wang et al., ECCV 2016).

    Raises ValueError if the clip has no frame.
    """
    _check(num_frames)
    # floor((i + 1/2) n / T) in whole numbers: no rounding to argue about
    return [(2 * i + 1) * num_frames // (2 * num_wanted) for i in range(num_wanted)]


def uniform_time_indices(times_s: Sequence[float], num_wanted: int) -> list[int]:
    """The frames on the screen at the centres of `num_wanted` segments of equal duration. Raises ValueError as above."""
    _check(len(times_s))
    duration_s = times_s[-1] - times_s[0] + _step_s(times_s)  # the last frame is on the screen, too
    return _shown(times_s, [(i + 0.5) * duration_s / num_wanted for i in range(num_wanted)])


def segment_indices(num_frames: int, num_wanted: int) -> list[int]:
    """As STAN's released code samples at test time (mmaction/datasets/transforms/loading.py:451-478).

    The segments are (n - 1) / T long, starts are rounded half to even and the half segment is cut to whole frames.
    Raises ValueError if the clip has no frame.
    """
    _check(num_frames)
    segment = (num_frames - 1) / num_wanted
    return [min(int(np.round(segment * i)) + int(segment / 2), num_frames - 1) for i in range(num_wanted)]


def dense_indices(num_frames: int, num_wanted: int, stride: int) -> list[int]:
    """Every `stride`-th frame around the middle (Carreira and Zisserman, CVPR 2017; the adapters AIM and ST-Adapter).

    A clip too short for that repeats its last frame (clamped, as PySlowFast's temporal_sampling). Raises ValueError if
    the clip has no frame.
    """
    _check(num_frames)
    first = max(0, (num_frames - (num_wanted - 1) * stride - 1) // 2)
    return [min(first + i * stride, num_frames - 1) for i in range(num_wanted)]


def rate_indices(times_s: Sequence[float], num_wanted: int, rate_fps: float) -> list[int]:
    """Frames at a fixed rate from the beginning (text-video retrieval takes 1 a second: CLIP4Clip, Neurocomputing 2022).

    Of more than `num_wanted` the centres of equal segments are taken, of fewer some are repeated. Raises ValueError if the
    clip has no frame.
    """
    _check(len(times_s))
    duration_s = times_s[-1] - times_s[0] + _step_s(times_s)
    count = max(1, int(np.ceil(duration_s * rate_fps - 1e-6)))
    at_rate = _shown(times_s, [k / rate_fps for k in range(count)])
    return [at_rate[i] for i in uniform_indices(len(at_rate), num_wanted)]


Choice = Callable[[int, Sequence[int] | None], list[int]]


def choice(how: str, num_wanted: int | None, stride: int = 1) -> Choice:
    """Which of a clip's stored frames an epoch sees: a function of how many there are and of the clip's place in the training
    (seed, epoch, number), which alone decides; without a place, as in validation, the middle of what may be drawn.
    """

    def choose(stored: int, place: Sequence[int] | None) -> list[int]:
        T = num_wanted or stored
        if how == "uniform" or place is None:
            return view_indices(how, stored, T, stride, 0, 1)
        random = np.random.default_rng([*place, 1])
        if how == "segment":
            return [min(int((i + u) * stored / T), stored - 1) for i, u in enumerate(random.random(T))]
        first = int(random.integers(max(1, stored - (T - 1) * stride)))
        return [min(first + i * stride, stored - 1) for i in range(T)]

    return choose


def view_indices(how: str, stored: int, num_wanted: int, stride: int, view: int, views: int) -> list[int]:
    """The stored frames of one of several views of a clip, counted from 0. Of segments each view takes another place (the
    centres of `views` equal parts); dense ones begin at equal steps, the first at the beginning, the last ending at the end
    (Wang et al., Non-local, CVPR 2018). One view takes the centres, or the middle.
    """
    _check(stored)
    if how != "dense":
        return [(2 * (i * views + view) + 1) * stored // (2 * num_wanted * views) for i in range(num_wanted)]
    room = max(0, stored - (num_wanted - 1) * stride - 1)
    first = round(view * room / (views - 1)) if views > 1 else room // 2
    return [min(first + i * stride, stored - 1) for i in range(num_wanted)]


def _shown(times_s: Sequence[float], wanted_s: list[float]) -> list[int]:
    """The index of the frame that is on the screen at each time from the clip's beginning, a microsecond forgiven."""
    return [max(0, bisect_right(times_s, times_s[0] + at_s + 1e-6) - 1) for at_s in wanted_s]


def _step_s(times_s: Sequence[float]) -> float:
    return (times_s[-1] - times_s[0]) / (len(times_s) - 1) if len(times_s) > 1 else 0.0


def _check(num_frames: int) -> None:
    if num_frames < 1:
        raise ValueError(f"sampling: a clip of {num_frames} frames has nothing to sample")
