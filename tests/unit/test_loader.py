import pickle

import numpy as np
import pytest
import torch

from kinetext.config.augment import AugmentOptions
from kinetext.core import tables
from kinetext.data.images import decode_image, decode_images, encode_image
from kinetext.data.loader import ClipDataset, ClipLoader
from kinetext.data.store import FrameStore

T, SIZE = 3, 16
CROP = AugmentOptions(crop=0.6)


def pixels(seed):
    return np.random.default_rng(seed).integers(0, 256, (T, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture
def shards(tmp_path):
    """Two shards of two clips; clip 2 failed."""
    for shard in (0, 1):
        rows = []
        for number in (2 * shard, 2 * shard + 1):
            images = [encode_image(frame_HWC, "raw", 95) for frame_HWC in pixels(number)]
            row = {"clip_id": f"clip{number}", "status": "ok", "images": images}
            rows.append(row if number != 2 else row | {"status": "failed", "error": "empty_file", "images": []})
        tables.write_shard("frames", [rows[:1], rows[1:]], tmp_path / f"{shard:05d}.arrow")
    return [tmp_path / "00000.arrow", tmp_path / "00001.arrow"]


def test_frames_come_from_the_clips_own_row(shards):
    store = FrameStore(shards)
    for number in (0, 1, 3):
        assert torch.equal(store.frames(f"clip{number}"), torch.from_numpy(pixels(number)).permute(0, 3, 1, 2))
    batch_BTCHW = store.batch(["clip3", "clip0"])
    assert batch_BTCHW.shape == (2, T, 3, SIZE, SIZE)
    assert batch_BTCHW.dtype == torch.uint8
    assert torch.equal(batch_BTCHW[0], store.frames("clip3"))


def test_clips_without_frames_are_not_in_the_store(shards):
    store = FrameStore(shards)
    assert [f"clip{number}" in store for number in range(5)] == [True, True, False, True, False]
    assert (store.status("clip1"), store.status("clip2")) == ("ok", "failed")
    with pytest.raises(ValueError, match=r"clip2 has no frames \(empty_file\)"):
        store.frames("clip2")
    with pytest.raises(ValueError, match="clip4 is in none of the 2 shards"):
        store.frames("clip4")


def test_a_clip_in_two_shards_is_refused(shards):
    with pytest.raises(ValueError, match="duplicate clip_id 'clip0'"):
        FrameStore([shards[0], shards[0]])


def test_a_pickled_store_opens_the_files_again(shards):
    store = FrameStore(shards)
    before = store.frames("clip3")
    data = pickle.dumps(store)
    assert len(data) < SIZE * SIZE * 3  # paths and names, no images
    assert torch.equal(pickle.loads(data).frames("clip3"), before)


def test_a_loader_with_workers_gives_the_same_batches(shards):
    dataset = ClipDataset(FrameStore(shards), ["clip0", "clip1", "clip3"], augment=CROP)
    dataset[0, 0]  # opens a shard before the workers start
    batches = [list(ClipLoader(dataset, torch.device("cpu"), n).batches([[0, 1], [2]], 0)) for n in (0, 1)]
    assert [len(batch) for batch in batches[1]] == [2, 1]
    for ours, theirs in zip(*batches, strict=True):
        assert torch.equal(ours, theirs)


def test_without_augmentation_items_are_the_frames(shards):
    store = FrameStore(shards)
    frames_THWC = ClipDataset(store, ["clip1"])[0, 0]
    assert torch.equal(frames_THWC.permute(0, 3, 1, 2), store.frames("clip1"))


def test_a_crop_is_the_same_for_all_frames_of_a_clip(tmp_path):
    images = [encode_image(pixels(0)[0], "raw", 95)] * T
    tables.write_shard("frames", [[{"clip_id": "still", "status": "ok", "images": images}]], tmp_path / "0.arrow")
    dataset = ClipDataset(FrameStore([tmp_path / "0.arrow"]), ["still"], augment=CROP)
    frames_THWC = dataset[0, 0]
    assert frames_THWC.shape == (T, SIZE, SIZE, 3)
    assert frames_THWC.dtype == torch.uint8
    assert all(torch.equal(frame_HWC, frames_THWC[0]) for frame_HWC in frames_THWC)
    assert not torch.equal(frames_THWC.permute(0, 3, 1, 2), dataset.store.frames("still"))


def test_a_crop_depends_on_seed_epoch_and_index_alone(shards):
    def item(index=0, epoch=0, seed=0):
        return ClipDataset(FrameStore(shards), ["clip0", "clip0"], augment=CROP, seed=seed)[index, epoch]

    first = item()
    torch.rand(7)  # whatever else drew random numbers
    assert torch.equal(item(), first)
    for other in (item(index=1), item(epoch=1), item(seed=1)):
        assert not torch.equal(other, first)


def test_a_crop_does_not_change_the_global_generator(shards):
    dataset = ClipDataset(FrameStore(shards), ["clip0"], augment=CROP)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    dataset[0, 0]
    assert torch.equal(torch.rand(1), expected)


def test_images_of_a_clip_are_decoded_as_single_images_and_must_have_one_size():
    for encoding in ("jpeg", "raw"):
        images = [encode_image(frame_HWC, encoding, 95) for frame_HWC in pixels(0)]
        assert np.array_equal(decode_images(images), np.stack([decode_image(image) for image in images]))
        smaller = encode_image(pixels(0)[0, 4:, 4:], encoding, 95)
        with pytest.raises(ValueError, match="image of 12x12 px among others of 16x16"):
            decode_images([*images, smaller])
