"""Rendered motions: the classes of a pair differ by the order of their frames alone, whatever the kind of motion."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from kinetext.data import scenes
from kinetext.data.datasets.shapes import Shapes, clip_random
from kinetext.data.motion import kinds, levels
from kinetext.data.motion.kinds import CLASSES, KIND_OF_PAIR, draw_clip
from kinetext.data.motion.reversal import Reversal
from kinetext.data.motion.world import NUM_FRAMES, smooth_progress
from kinetext.video.sampling import uniform_indices

REVERSED = {pair: labels for pair, labels in CLASSES.items() if KIND_OF_PAIR[pair] != "count"}
RESTING = [pair for pair, kind in KIND_OF_PAIR.items() if kind in ("loop", "sequence")]
# SHA-256 of the frames of seeds 0 and 1 of both classes of a pair, as first published
FRAMES = {
    "across": "d5511c3ad6dffcd5",
    "gate": "6a54427cbde507db",
    "turn": "9a4198f3b21d9a37",
    "box": "976a51f747f8e0ab",
}


def plain(monkeypatch):
    """Draw without pixel noise."""
    monkeypatch.setattr(kinds, "draw_scene", lambda scene, random: scenes.draw_scene(replace(scene, noise=0), random))


def test_sampled_frames_are_symmetric_in_time():
    """Otherwise the choice of frames would distinguish a class from its reversal."""
    indices = uniform_indices(NUM_FRAMES, 8)
    assert indices == [1, 4, 7, 10, 13, 16, 19, 22]
    assert [NUM_FRAMES - 1 - i for i in reversed(indices)] == indices


@pytest.mark.parametrize("pair", FRAMES)
def test_published_clips_keep_their_frames(pair):
    """Shipped figures were measured on them; the H.264 files are named by a version that has to change with them."""
    digest = hashlib.sha256()
    for label in CLASSES[pair]:
        for number in range(2):
            digest.update(draw_clip(label, clip_random(f"test/{label.replace(' ', '_')}/{number:04d}", 0)).tobytes())
    assert digest.hexdigest()[:16] == FRAMES[pair]


@pytest.mark.parametrize(("forwards", "backwards"), REVERSED.values(), ids=REVERSED)
def test_a_clip_played_backwards_is_a_clip_of_the_other_class(forwards, backwards, monkeypatch):
    plain(monkeypatch)
    for seed in range(3):
        one, other = (draw_clip(label, np.random.default_rng(seed)) for label in (forwards, backwards))
        assert np.array_equal(one[::-1], other)
        assert not np.array_equal(one, other)


@pytest.mark.parametrize("pair", RESTING)
def test_both_ends_of_a_loop_or_sequence_are_the_same_still_at_rest(pair, monkeypatch):
    """All frames in the first and in the last tenth of the clip, up to the distracting dots, which drift."""
    plain(monkeypatch)
    monkeypatch.setattr("kinetext.data.motion.world.distractors", lambda *_: [])
    for label in CLASSES[pair]:
        clip = draw_clip(label, np.random.default_rng(1)).astype(int)
        assert np.abs(clip[[0, 1, 2, -3, -2, -1]] - clip[0]).max() <= 1
        assert np.abs(clip[8] - clip[0]).max() > 50


@pytest.mark.parametrize("pair", [pair for pair, kind in KIND_OF_PAIR.items() if kind == "count"])
def test_a_motion_repeats_as_often_as_its_class_says(pair, monkeypatch):
    """The frames are those of one period, shown n times: the strongest frequency of the changing pixels is n."""
    plain(monkeypatch)
    monkeypatch.setattr("kinetext.data.motion.world.distractors", lambda *_: [])
    for number, label in enumerate(CLASSES[pair], start=1):
        clip = draw_clip(label, np.random.default_rng(3)).astype(float)
        power = np.square(np.abs(np.fft.rfft(clip.reshape(NUM_FRAMES, -1), axis=0))).sum(1)
        assert power[1:number].sum() < 1e-3 * power[number]
        assert power[1:].argmax() == number - 1


def test_the_speed_profile_reads_the_same_backwards():
    """In law: the mean progress at a time and at the mirrored time add up to one, and they spread alike."""
    random = np.random.default_rng(0)
    progress = np.stack([smooth_progress(random, (0.0, 0.2)) for _ in range(4000)])
    assert (np.diff(progress) >= 0).all()
    assert progress.mean(0) + progress.mean(0)[::-1] == pytest.approx(1.0, abs=0.01)
    assert progress.std(0) == pytest.approx(progress.std(0)[::-1], abs=0.01)


def test_a_level_adds_to_the_same_motion():
    clips = [draw_clip("rising", np.random.default_rng(2), level=level) for level in range(len(levels.LEVELS))]
    assert np.array_equal(clips[1], draw_clip("rising", np.random.default_rng(2), level=1))
    differences = [np.abs(clip.astype(int) - clips[0]).mean() for clip in clips]
    assert differences == sorted(differences)
    assert differences[1] > 2


def test_a_shifted_image_moves_right_and_down():
    image_HWC = np.zeros((4, 5, 3), np.float32)
    image_HWC[1, 2] = 1.0
    moved_HWC = levels.shifted(image_HWC, 1.5, 1.0)
    assert moved_HWC[2, 3:, 0].tolist() == [0.5, 0.5]
    assert moved_HWC.sum() == pytest.approx(3)


def test_class_names_and_pairs_are_unique():
    labels = [label for classes in CLASSES.values() for label in classes]
    assert len(labels) == len(set(labels)) == len(kinds.PAIR_OF_CLASS)
    assert len(KIND_OF_PAIR) == sum(len(world.PAIRS) for world in kinds.KINDS.values())


@pytest.mark.parametrize(
    ("options", "pairs"),
    [
        ({}, tuple(Reversal.PAIRS)),
        ({"kinds": ("rhythm", "loop")}, ("speed", "pause", "dash", "orbit", "eight", "spin", "anywhere")),
        ({"pairs": ("swing", "across")}, ("swing", "across")),
    ],
)
def test_pairs_are_chosen_by_kind_or_by_name(options, pairs):
    dataset = Shapes(Shapes.Config(**options))
    assert dataset.pairs == pairs
    assert dataset.labels() == [label for pair in pairs for label in CLASSES[pair]]


def test_each_two_classes_of_a_pair_are_declared():
    dataset = Shapes(Shapes.Config(pairs=("pulse",)))
    one, two, three = CLASSES["pulse"]
    assert dataset.declared_pairs() == [(one, two), (two, three), (one, three)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": ("loops",)}, "kinds: no kind of motion 'loops'.*'loop'"),
        ({"kinds": ()}, "kinds: is empty"),
        ({"pairs": ("orbits",)}, "no pair 'orbits'.*'orbit'"),
        ({"test_only": ("orbits",)}, "no pair 'orbits'"),
        ({"level": 4}, "less than 4"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Shapes.Config(**options)


def test_levels_are_rendered_to_folders_of_their_own(tmp_path):
    files = []
    for level in (0, 1):
        clip, _ = Shapes(Shapes.Config(train=0, val=0, test=1, pairs=("orbit",), level=level)).list_clips(tmp_path)
        files.append(clip.path)
    assert files[0].parent != files[1].parent
    assert files[0].read_bytes() != files[1].read_bytes()
