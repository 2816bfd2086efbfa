"""Clips of shapes with captions: twins differ by the motion and by nothing else, in pictures and in words."""

import re
from dataclasses import replace

import numpy as np
import pytest

from kinetext.data.datasets.shapes_captions import PAIRS, ShapesCaptions, captions, looks
from kinetext.data.motion import kinds
from kinetext.data.motion.files import write_video

LOOKS = [(pair, split, look) for pair in PAIRS for split in ("train", "test") for look in looks(pair, split, seed=0)]


def words(sentence):
    return set(re.findall(r"\w+", sentence))


def test_a_clip_has_four_captions_that_no_other_clip_has():
    for split in ("train", "test"):
        sentences = [
            sentence
            for pair, of, look in LOOKS
            if of == split
            for label in PAIRS[pair]
            for sentence in captions(label, look)
        ]
        assert len(set(sentences)) == len(sentences) == 4 * 2 * (10 * 20 + 15)


def test_captions_of_twins_name_the_same_figures():
    for pair, _, look in LOOKS:
        one, other = (captions(label, look) for label in PAIRS[pair])
        for a, b in zip(one, other, strict=True):
            assert a != b
            assert {look.colour, look.shape} <= words(a) & words(b)
        assert words(one[2]) == words(other[2])  # the same words in another order


@pytest.mark.parametrize("pair", PAIRS)
def test_a_twin_is_the_other_backwards(pair, monkeypatch):
    draw = kinds.draw_scene
    monkeypatch.setattr(kinds, "draw_scene", lambda scene, random: draw(replace(scene, noise=0.0), random))
    look = looks(pair, "test", seed=0)[0]
    one, other = (kinds.draw_clip(label, np.random.default_rng(4), look) for label in PAIRS[pair])
    assert (one == other[::-1]).all()
    assert (one != other).any()


def test_the_figure_is_that_of_the_caption():
    look = next(look for look in looks("across", "test", seed=0) if look.colour == "red")
    frame_HWC = kinds.draw_clip("moving right", np.random.default_rng(0), look)[0].astype(int)
    red = (frame_HWC[..., 0] > 170) & (frame_HWC[..., 1] < 100) & (frame_HWC[..., 2] < 100)
    assert red[:, :32].sum() > 20 > red[:, 32:].sum()


def test_clips_are_rendered_once(tmp_path):
    dataset = ShapesCaptions(ShapesCaptions.Config(train=1, val=0, test=1, pairs=("across",), workers=1))
    clips = list(dataset.list_clips(tmp_path))
    assert [clip.clip_id for clip in clips] == [
        f"{split}/{label}/0000" for split in ("train", "test") for label in ("moving_right", "moving_left")
    ]
    times = [clip.path.stat().st_mtime_ns for clip in clips]
    assert list(dataset.list_clips(tmp_path)) == clips
    assert [clip.path.stat().st_mtime_ns for clip in clips] == times
    with pytest.raises(ValueError, match="no pair 'gatee'"):
        ShapesCaptions.Config(pairs=("gatee",))


def test_a_clip_has_the_same_bytes_each_time(tmp_path):
    clips = [kinds.draw_clip(label, np.random.default_rng(0)) for label in ("growing", "shrinking", "moving right")]
    for number, frames_THWC in enumerate(clips):
        for attempt in range(8):  # what differed did so once in ten times or so
            write_video(frames_THWC, tmp_path / f"{number}_{attempt}.mp4")
        assert len({path.read_bytes() for path in tmp_path.glob(f"{number}_*.mp4")}) == 1
