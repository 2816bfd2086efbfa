"""Which frames of a clip are looked at: functions of two integers, so that every method sees the same ones.

Sampling goes by frame index, as the papers' code does, not by time; the two differ in videos of variable frame rate,
which decode.py flags. Clips with fewer frames than wanted repeat frames.
"""

import numpy as np


def uniform_indices(num_frames: int, num_wanted: int) -> list[int]:
    """The centres of `num_wanted` equal segments of a clip (TSN, Wang et al., ECCV 2016), ascending.

    Raises ValueError if the clip has no frame.
    """
    _check(num_frames)
    # floor((i + 1/2) n / T) in whole numbers: no rounding to argue about
    return [(2 * i + 1) * num_frames // (2 * num_wanted) for i in range(num_wanted)]


def segment_indices(num_frames: int, num_wanted: int) -> list[int]:
    """As STAN's released code samples at test time (mmaction/datasets/transforms/loading.py:451-478), ascending.

    The segments are (n - 1) / T long, starts are rounded half to even and the half segment is cut to whole frames.
    Raises ValueError if the clip has no frame.
    """
    _check(num_frames)
    segment = (num_frames - 1) / num_wanted
    return [min(int(np.round(segment * i)) + int(segment / 2), num_frames - 1) for i in range(num_wanted)]


def _check(num_frames: int) -> None:
    if num_frames < 1:
        raise ValueError(f"sampling: a clip of {num_frames} frames has nothing to sample")


SAMPLINGS = {"uniform": uniform_indices, "segment": segment_indices}  # the names in FrameOptions.sampling
