"""Augmentation and the choice of frames: the same for all frames of a clip, decided by seed, epoch and index only."""

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from kinetext.config.augment import AugmentOptions
from kinetext.config.data import FrameOptions
from kinetext.config.method import TestingOptions
from kinetext.core import tables
from kinetext.data.augment import augment_clip, crop_square, may_flip
from kinetext.data.datasets.shapes import Shapes
from kinetext.data.frames import resize
from kinetext.data.images import encode_image
from kinetext.data.loader import ClipDataset, ClipLoader
from kinetext.data.store import FrameStore
from kinetext.data.views import ClipViews
from kinetext.video.sampling import choice, view_indices

ALL = AugmentOptions(crop=0.3, flip="on", rand_augment=9, erasing=1.0)
M, SIZE = 12, 24


@pytest.fixture
def store(tmp_path):
    """Four clips of 12 raw frames of noise."""
    return make_store(tmp_path, "raw")


def make_store(tmp_path, encoding):
    rows = []
    for number in range(4):
        frames = np.random.default_rng(number).integers(0, 256, (M, SIZE, SIZE, 3), dtype=np.uint8)
        rows.append(
            {"clip_id": f"c{number}", "status": "ok", "images": [encode_image(frame, encoding, 95) for frame in frames]}
        )
    tables.write_shard("frames", [rows], tmp_path / "0.arrow")
    return FrameStore([tmp_path / "0.arrow"])


def clip(seed=0):
    return torch.randint(256, (1, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    "options", [ALL, AugmentOptions(rand_augment=20), AugmentOptions(erasing=1.0), AugmentOptions(crop=0.3)]
)
def test_frames_of_a_clip_are_augmented_alike_and_differently_in_each_epoch(options):
    still_TCHW = clip().expand(8, -1, -1, -1).clone()
    seen = []
    for epoch in range(4):
        augmented_TCHW = augment_clip(still_TCHW, options, options.flip == "on", (0, epoch, 5))
        assert augmented_TCHW.shape == still_TCHW.shape
        assert augmented_TCHW.dtype == torch.uint8
        assert all(torch.equal(frame_CHW, augmented_TCHW[0]) for frame_CHW in augmented_TCHW)
        assert torch.equal(augmented_TCHW, augment_clip(still_TCHW, options, options.flip == "on", (0, epoch, 5)))
        seen.append(augmented_TCHW)
    assert (
        sum(not torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i]) >= 5
    )  # of 6; two may draw the identity


def test_the_crop_is_torchvisions():
    """Training with `augment: crop` draws what it drew before there were other augmentations."""
    frames_TCHW = clip().expand(2, -1, -1, -1)
    seed = np.random.SeedSequence([3, 1, 2]).generate_state(1)[0]
    torch.manual_seed(int(seed))
    crop = v2.RandomResizedCrop(
        [SIZE, SIZE], scale=(0.6, 1.0), interpolation=v2.InterpolationMode.BICUBIC, antialias=True
    )
    expected = crop(frames_TCHW)
    assert torch.equal(augment_clip(frames_TCHW, AugmentOptions(crop=0.6), False, (3, 1, 2)), expected)


def test_half_of_the_clips_are_mirrored():
    frames_TCHW, flip = clip(), AugmentOptions(flip="on")
    augmented = [augment_clip(frames_TCHW, flip, True, (0, 0, number)) for number in range(100)]
    mirrored = sum(torch.equal(frames, frames_TCHW.flip(-1)) for frames in augmented)
    assert mirrored + sum(torch.equal(frames, frames_TCHW) for frames in augmented) == 100
    assert 30 < mirrored < 70


def test_auto_does_not_mirror_where_classes_have_a_direction():
    auto = AugmentOptions(flip="auto")
    assert not may_flip(auto, Shapes(Shapes.Config()).labels())
    assert not may_flip(auto, ["Pulling something from left to right", "Holding something"])
    assert not may_flip(auto, ["turn_clockwise"])
    assert may_flip(auto, ["growing", "shrinking", "copyright"])
    assert not may_flip(auto, ["clip1", "clip2"], captioned=True)
    assert may_flip(AugmentOptions(flip="on"), ["moving left"])
    assert not may_flip(AugmentOptions(flip="off"), ["growing"])
    assert AugmentOptions(flip=False).flip == "off"  # as YAML reads `flip: off`
    assert AugmentOptions(flip=True).flip == "on"


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_workers_change_no_pixel(store, workers):
    dataset = ClipDataset(store, store_ids(), ALL, seed=1, flip=True, choose=choice("segment", 4))
    order = [[2, 0], [7, 3], [1]]  # 7: clip 3 again, with its own draws
    loader = ClipLoader(dataset, torch.device("cpu"), workers)
    for epoch in (5, 6):  # persistent workers
        batches = list(loader.batches(order, epoch))
        for batch_BTCHW, indices in zip(batches, order, strict=True):
            expected_BTHWC = torch.stack([dataset[index, epoch] for index in indices])
            assert torch.equal(batch_BTCHW, expected_BTHWC.permute(0, 1, 4, 2, 3))
        assert not torch.equal(batches[1][0], batches[1][1])


def store_ids():
    return [f"c{number}" for number in range(4)]


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_decoding_on_the_device_augments_alike(encoding, tmp_path):
    dataset = ClipDataset(make_store(tmp_path, encoding), store_ids(), ALL, seed=1, choose=choice("dense", 4, 2))
    workers, device = (ClipLoader(dataset, torch.device("cpu"), decode=decode) for decode in ("workers", "device"))
    order = [[2, 0], [5, 3]]
    for ours, theirs in zip(workers.batches(order, 3), device.batches(order, 3), strict=True):
        assert torch.equal(ours, theirs)


def test_without_an_epoch_nothing_is_random(store):
    dataset = ClipDataset(store, store_ids(), ALL, choose=choice("segment", 4))
    assert torch.equal(dataset[1, None].permute(0, 3, 1, 2), store.frames("c1")[[1, 4, 7, 10]])


# ---- which frames


def test_segment_draws_one_frame_of_each_segment():
    choose = choice("segment", 4)
    drawn = np.array([choose(12, (0, epoch, 5)) for epoch in range(200)])
    for i in range(4):
        assert set(drawn[:, i]) == {3 * i, 3 * i + 1, 3 * i + 2}
    assert choose(12, (0, 3, 5)) == choose(12, (0, 3, 5)) != choose(12, (0, 4, 5))


def test_dense_takes_consecutive_frames_from_a_random_start():
    choose = choice("dense", 4, 2)
    drawn = {tuple(choose(12, (0, epoch, 5))) for epoch in range(200)}
    assert drawn == {(s, s + 2, s + 4, s + 6) for s in range(6)}  # the last start is 5: 5, 7, 9, 11
    assert choice("dense", 4, 2)(12, None) == [2, 4, 6, 8]
    assert choice("uniform", 4)(12, (0, 1, 2)) == [1, 4, 7, 10]


def test_views_of_a_clip():
    assert [view_indices("uniform", 12, 3, 1, view, 2) for view in range(2)] == [[1, 5, 9], [3, 7, 11]]
    assert view_indices("uniform", 12, 3, 1, 0, 1) == [2, 6, 10]
    assert [view_indices("dense", 12, 3, 2, view, 3) for view in range(3)] == [[0, 2, 4], [4, 6, 8], [7, 9, 11]]
    assert view_indices("dense", 3, 3, 2, 0, 1) == [0, 2, 2]  # a clip too short repeats its last frame


# ---- whole frames


def test_uncropped_frames_are_stored_and_cropped_at_three_positions(tmp_path, spec):
    rng = np.random.default_rng(0)
    wide_THWC = rng.integers(0, 256, (4, 32, 64, 3), dtype=np.uint8)
    whole_THWC = resize(wide_THWC, 16, "whole")
    assert whole_THWC.shape == (4, 16, 32, 3)
    assert np.array_equal(whole_THWC[:, :, 8:24], resize(wide_THWC, 16))
    images = [encode_image(frame_HWC, "jpeg", 95) for frame_HWC in whole_THWC]
    tables.write_shard("frames", [[{"clip_id": "c", "status": "ok", "images": images}]], tmp_path / "0.arrow")
    store = FrameStore([tmp_path / "0.arrow"])
    views = ClipViews(store, ["c"], spec(num_frames=2, testing=TestingOptions(clips=2, crops=3)))[0, None]
    views = views.permute(0, 3, 1, 2).unflatten(0, (6, 2))
    assert views.shape == (6, 2, 3, 16, 16)
    centre_TCHW = store.frames("c")
    assert centre_TCHW.shape == (4, 3, 16, 16)
    assert torch.equal(views[1], centre_TCHW[[0, 2]])  # the middle crop of the first choice of frames
    assert torch.equal(views[4], centre_TCHW[[1, 3]])
    assert not torch.equal(views[0], views[2])

    dataset = ClipDataset(store, ["c"], AugmentOptions(crop=0.5))
    assert dataset[0, 0].shape == (4, 16, 16, 3)
    assert torch.equal(dataset[0, None].permute(0, 3, 1, 2), centre_TCHW)


def test_the_three_crops():
    frames_TCHW = torch.arange(24).reshape(1, 1, 4, 6)
    assert [crop_square(frames_TCHW, at)[0, 0, 0].tolist() for at in (0.0, 0.5, 1.0)] == [
        [0, 1, 2, 3],
        [1, 2, 3, 4],
        [2, 3, 4, 5],
    ]
    assert crop_square(frames_TCHW.mT, 1.0)[0, 0, :, 0].tolist() == [2, 3, 4, 5]


def test_uncropped_frames_need_jpeg():
    with pytest.raises(ValueError, match="set encoding: jpeg"):
        FrameOptions(crop="whole", encoding="raw")


@pytest.fixture
def spec(world, tmp_path):
    """A function of what a run has otherwise than `world`'s."""
    from kinetext.config.run import read_run

    run = read_run(world.write_run(tmp_path / "run", "mean_pool"))
    return lambda **other: run.model_copy(update=other)
