import pytest

from kinetext.config import FrameOptions
from kinetext.data.sampling import SAMPLINGS, segment_indices, uniform_indices


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
def test_segment_is_what_the_released_code_gives(num_frames, num_wanted, indices):
    assert segment_indices(num_frames, num_wanted) == indices


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS.keys())
def test_every_index_exists_and_they_ascend(sampling):
    for num_frames in range(1, 40):
        for num_wanted in range(1, 40):
            indices = sampling(num_frames, num_wanted)
            assert len(indices) == num_wanted
            assert indices == sorted(indices)
            assert indices[0] >= 0
            assert indices[-1] < num_frames


def test_a_clip_without_frames_is_refused():
    with pytest.raises(ValueError, match="0 frames"):
        uniform_indices(0, 8)


def test_every_sampling_of_the_configuration_exists():
    assert set(FrameOptions.model_fields["sampling"].annotation.__args__) == set(SAMPLINGS)
