"""The shapes world: what its captions say is true."""

import numpy as np
import pytest

from kinetext.data import scenes, still_captions, stills

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
