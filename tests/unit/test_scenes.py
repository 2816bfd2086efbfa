"""The shapes world: what its captions say is true, and its classes differ by the order of their frames alone."""

from dataclasses import replace

import numpy as np
import pytest

from kinetext.data import scenes, still_captions, stills
from kinetext.data.datasets import shapes
from kinetext.video.sampling import uniform_indices

ANY_WORDING = np.random.default_rng(0)


def values(**words: str) -> dict[str, int]:
    """Attributes by their words, as indices."""
    return {name: stills.ATTRIBUTES[name].index(word) for name, word in words.items()}


def verdict(still: dict[str, int], caption: dict[str, int]) -> str:
    """true, false or undecided."""
    true_BK, undecided_BK = still_captions.truth(
        still_captions.table([still], stills.NONE), still_captions.table([caption], stills.FREE)
    )
    assert not (true_BK & undecided_BK).any()
    return "true" if true_BK[0, 0] else "undecided" if undecided_BK[0, 0] else "false"


ONE = values(shape="circle", colour="red", size="large", position="top left", background="dark", visibility="solid")
TWO = values(shape="circle", colour="red", side="left of", distance="far apart", background="dark")
TWO |= values(other_shape="square", other_colour="blue") | {"height": stills.UNSURE, "position": stills.UNSURE}


@pytest.mark.parametrize(
    ("still", "caption", "expected"),
    [
        (ONE, values(shape="circle"), "true"),
        (ONE, values(colour="red", position="top left", background="dark"), "true"),
        (ONE, values(colour="blue"), "false"),
        (ONE, values(colour="red", position="top right"), "false"),  # one wrong word is enough
        (ONE, values(gate="open"), "false"),  # there is no gate
        (ONE, values(colour="red", other_colour="blue"), "false"),  # there is no second figure
        (TWO, values(colour="red", side="left of", other_colour="blue"), "true"),
        (TWO, values(colour="red", side="right of", other_colour="blue"), "false"),
        (TWO, values(colour="blue", side="left of", other_colour="red"), "false"),
        (TWO, values(distance="far apart"), "true"),
        (TWO, values(distance="close together"), "false"),
        # about one of two figures, or not clear-cut in the picture: neither rewarded nor punished
        (TWO, values(colour="blue"), "undecided"),
        (TWO, values(shape="square", background="dark"), "undecided"),
        (TWO, values(shape="square", background="light"), "false"),
        (TWO, values(colour="red", height="above", other_colour="blue"), "undecided"),
        (TWO, values(position="top left"), "undecided"),
    ],
)
def test_whether_a_caption_is_true_of_a_still(still, caption, expected):
    assert verdict(still, caption) == expected


@pytest.mark.parametrize("kind", ["single", "pair", "gate", "box", "empty"])
def test_a_stills_caption_is_true_and_its_hard_negative_is_not(kind):
    random = np.random.default_rng(0)
    for _ in range(300):
        still = stills.draw_still(kind, random)
        stated = still_captions.caption_values(still, random)
        wrong = still_captions.hard_negative(stated, random)
        assert sum(stated[name] != wrong[name] for name in stated) == 1
        assert verdict(still.values, stated) == "true"
        assert verdict(still.values, wrong) == "false"
        assert still_captions.caption_text(stated, random)


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        (values(colour="blue", side="right of", other_colour="red"), "true"),
        (values(colour="blue", shape="square", side="right of", other_colour="red", other_shape="circle"), "true"),
        (values(colour="blue", distance="far apart", other_colour="red"), "true"),
        (values(colour="red", side="right of", other_colour="blue"), "false"),
        (values(colour="blue", height="above", other_colour="red"), "undecided"),
    ],
)
def test_a_caption_may_begin_with_either_of_two_figures(caption, expected):
    assert verdict(TWO, caption) == expected


@pytest.mark.parametrize("kind", ["single", "pair", "gate", "box", "empty"])
def test_a_hard_negative_has_another_text(kind):
    """Else the same words would be rewarded as a caption and punished as a hard negative."""
    random = np.random.default_rng(1)
    for seed in range(300):
        stated = still_captions.caption_values(stills.draw_still(kind, random), random)
        wrong = still_captions.hard_negative(stated, random)
        texts = [still_captions.caption_text(words, np.random.default_rng(seed)) for words in (stated, wrong)]
        assert texts[0] != texts[1]


@pytest.mark.parametrize(
    ("stated", "text"),
    [
        (values(shape="circle", colour="red", size="large"), "a large red circle"),
        (values(colour="red", position="top left"), "a red shape at the top left"),
        (values(position="centre", shape="cross"), "a cross in the centre"),
        (values(shape="circle", side="left of", other_shape="square"), "a circle left of a square"),
        (values(colour="red", other_colour="blue", distance="far apart"), "a red shape and a blue shape far apart"),
        (values(distance="close together"), "two shapes close together"),
        (values(shape="circle", visibility="faint", background="light"), "a faint circle on a light background"),
        (values(colour="green", box="inside"), "a green shape inside the box"),
    ],
)
def test_texts_of_captions(stated, text):
    assert still_captions.caption_text(stated, ANY_WORDING) == text


def test_a_figure_is_drawn_at_its_position():
    """A red circle at the top left: red there, the background elsewhere."""
    figure = scenes.Figure("circle", (1.0, 0.0, 0.0), 0.25, 0.25, 0.125)
    image_HWC = scenes.draw_scene(scenes.Scene(0.5, figures=[figure]), np.random.default_rng(0))
    assert image_HWC.shape == (64, 64, 3)
    assert image_HWC[16, 16].tolist() == [255, 0, 0]
    assert image_HWC[16, 48].tolist() == image_HWC[48, 16].tolist() == [128, 128, 128]
    covered_px = (1 - image_HWC[:, :, 1] / 128).sum()
    assert covered_px == pytest.approx(np.pi * 8**2, rel=0.01)  # 0.125 of 64 px is a radius of 8 px


def test_sampled_frames_are_symmetric_in_time():
    """Otherwise the choice of frames would distinguish a class from its reversal."""
    indices = uniform_indices(shapes.NUM_FRAMES, 8)
    assert indices == [1, 4, 7, 10, 13, 16, 19, 22]
    assert [shapes.NUM_FRAMES - 1 - i for i in reversed(indices)] == indices


@pytest.mark.parametrize(("forwards", "backwards"), shapes.PAIRS.values(), ids=shapes.PAIRS)
def test_a_clip_played_backwards_is_a_clip_of_the_other_class(forwards, backwards, monkeypatch):
    monkeypatch.setattr(shapes, "draw_scene", lambda scene, random: scenes.draw_scene(replace(scene, noise=0), random))
    for seed in range(3):
        one, other = (shapes.draw_clip(label, np.random.default_rng(seed)) for label in (forwards, backwards))
        assert np.array_equal(one[::-1], other)
        assert not np.array_equal(one, other)


def test_the_two_classes_of_a_pair_have_the_same_frames_on_average():
    """Clips of different seeds, with noise: what is left when order is thrown away does not tell the classes apart.

    For each pair the mean frame of 16 clips in 4 x 4 blocks, without its brightness, which varies most; the difference
    is compared with its standard error. Over 11 pairs x 48 numbers such z-scores have a mean square of about 1.
    """
    scores = []
    for number, pair in enumerate(shapes.PAIRS.values()):
        seeds = iter(range(1000 * number, 1000 * number + 32))
        one, other = ([_blocks(label, next(seeds)) for _ in range(16)] for label in pair)
        error = np.sqrt((np.var(one, 0, ddof=1) + np.var(other, 0, ddof=1)) / 16)
        scores.append((np.mean(one, 0) - np.mean(other, 0)) / error)
    assert np.square(scores).mean() < 1.3
    assert np.abs(scores).max() < 6


def _blocks(label: str, seed: int) -> np.ndarray:
    """The mean over the eight frames that are looked at, in 4 x 4 blocks, less its mean, [4 * 4 * 3]."""
    clip = shapes.draw_clip(label, np.random.default_rng(seed))[uniform_indices(shapes.NUM_FRAMES, 8)]
    blocks = clip.reshape(8, 4, 16, 4, 16, 3).mean((0, 2, 4)).ravel()
    return blocks - blocks.mean()


def test_the_speed_profile_reads_the_same_backwards():
    """In law: the mean progress at a time and at the mirrored time add up to one, and they spread alike."""
    random = np.random.default_rng(0)
    progress = np.stack([shapes._progress(random) for _ in range(4000)])
    assert (np.diff(progress) >= 0).all()
    assert progress.mean(0) + progress.mean(0)[::-1] == pytest.approx(1.0, abs=0.01)
    assert progress.std(0) == pytest.approx(progress.std(0)[::-1], abs=0.01)
