"""Sampling of frames by index and by time, from one frame to many."""

import pytest

from kinetext.config.data import FrameOptions
from kinetext.video.sampling import (
    dense_indices,
    rate_indices,
    sampler,
    segment_indices,
    uniform_indices,
    uniform_time_indices,
)

NAMES = FrameOptions.model_fields["sampling"].annotation.__args__


def test_uniform_takes_the_centres_of_equal_segments():
    assert uniform_indices(8, 4) == [1, 3, 5, 7]
    assert uniform_indices(300, 8) == [18, 56, 93, 131, 168, 206, 243, 281]
    assert uniform_indices(5, 5) == [0, 1, 2, 3, 4]


def test_uniform_repeats_frames_of_a_short_clip():
    assert uniform_indices(1, 4) == [0, 0, 0, 0]
    assert uniform_indices(3, 8) == [0, 0, 0, 1, 1, 2, 2, 2]


@pytest.mark.parametrize(
    ("num_frames", "num_wanted", "indices"),
    [
        (300, 12, [12, 37, 62, 87, 112, 137, 162, 186, 211, 236, 261, 286]),
        (10, 12, [0, 1, 2, 2, 3, 4, 4, 5, 6, 7, 8, 8]),
        (1, 12, [0] * 12),
    ],
)
def test_segment_equals_the_released_code(num_frames, num_wanted, indices):
    assert segment_indices(num_frames, num_wanted) == indices


def test_by_time_is_by_index_where_frames_are_evenly_spaced():
    for num_frames in range(1, 60):
        times_s = [i / 30 for i in range(num_frames)]
        for num_wanted in (1, 3, 8, 17):
            if num_frames > 1:  # one frame has no duration
                assert uniform_time_indices(times_s, num_wanted) == uniform_indices(num_frames, num_wanted)


def test_by_time_a_frame_counts_as_long_as_it_is_shown():
    times_s = [5.0, 5.1, 5.2, 5.3, 8.3]  # the window of a longer file; its fourth frame stands still for 3 s
    assert uniform_indices(5, 4) == [0, 1, 3, 4]
    assert uniform_time_indices(times_s, 4) == [3, 3, 3, 4]  # at 0.52, 1.55, 2.58, 3.61 s of 4.125 s


def test_dense_takes_every_nth_frame_around_the_middle():
    assert dense_indices(100, 4, 8) == [37, 45, 53, 61]
    assert dense_indices(25, 4, 8) == [0, 8, 16, 24]
    assert dense_indices(20, 4, 8) == [0, 8, 16, 19]
    assert dense_indices(1, 3, 16) == [0, 0, 0]


def test_a_fixed_rate_takes_a_frame_a_second_and_no_more_than_wanted():
    four_s = [i / 10 for i in range(40)]
    assert rate_indices(four_s, 4, 1.0) == [0, 10, 20, 30]
    assert rate_indices(four_s, 2, 1.0) == [10, 30]
    assert rate_indices(four_s, 8, 1.0) == [0, 0, 10, 10, 20, 20, 30, 30]
    assert rate_indices(four_s, 8, 2.0) == [0, 5, 10, 15, 20, 25, 30, 35]
    assert rate_indices([0.0, 0.1], 2, 1.0) == [0, 0]


@pytest.mark.parametrize("name", NAMES)
def test_every_index_exists_and_they_ascend(name):
    for num_frames in range(1, 40):
        for num_wanted in (1, 2, 3, 8, 16, 39):
            options = FrameOptions(sampling=name, num_frames=num_wanted, stride=3, rate_fps=5)
            indices = sampler(options)([0.04 * i * i for i in range(num_frames)])
            assert len(indices) == num_wanted
            assert indices == sorted(indices)
            assert indices[0] >= 0
            assert indices[-1] < num_frames


@pytest.mark.parametrize("name", NAMES)
def test_a_clip_without_frames_is_refused(name):
    with pytest.raises(ValueError, match="0 frames"):
        sampler(FrameOptions(sampling=name))([])
