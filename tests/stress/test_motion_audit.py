"""One pair of each kind of motion under the probes of benchmarks/audit.py, with fewer clips than there, and all reversals
under a test that needs no probe.
"""

import runpy

import numpy as np
import pytest

from kinetext.data.drawing import drawing_version
from kinetext.data.motion.kinds import CLASSES, KIND_OF_PAIR, draw_clip
from kinetext.data.motion.reversal import Reversal
from kinetext.data.motion.world import NUM_FRAMES
from kinetext.report.audit import read_audits
from kinetext.video.sampling import uniform_indices
from repository import ROOT

PAIRS = ("across", "orbit", "lamps", "swing", "speed")
TRAIN, TEST = 80, 50  # clips per class
VISIBLE = 0.7  # of 100 test clips, 4 deviations from chance; the GRU has half as many training clips as in the audit


@pytest.fixture(scope="module")
def audit():
    return runpy.run_path(str(ROOT / "benchmarks" / "audit.py"))


def test_a_pair_of_each_kind_is_tested():
    assert {KIND_OF_PAIR[pair] for pair in PAIRS} == set(KIND_OF_PAIR.values())


@pytest.mark.parametrize("pair", PAIRS)
def test_only_the_motion_distinguishes_the_classes(pair, audit):
    embed = audit["embed_class"]
    features = {
        label: tuple(embed(label, split, clips, 0, False) for split, clips in (("train", TRAIN), ("test", TEST)))
        for label in CLASSES[pair]
    }
    row = next(audit["audit_pair"](pair, features))
    for probe in audit["must_be_at_chance"](row.kind, pair):
        low, high = audit["interval"](row, probe, 0.999)
        assert low <= 0.5 <= high, (probe, row)
    assert row.accuracy["gru"] > VISIBLE, row


def test_the_bundled_audit_is_that_of_the_bundled_drawing_code():
    """If this fails, run benchmarks/audit.py with --output-data; until then the report shows no audit."""
    assert {entry["version"] for entry in read_audits()} == {drawing_version()}


def test_a_static_cue_is_found(audit):
    """Features with a class's mark in one frame: the mean gives it away."""
    random = np.random.default_rng(0)

    def clips(mark, count):
        x_NTD = random.normal(size=(count, 8, 16))
        x_NTD[:, 3, 0] += mark
        return x_NTD

    features = {label: (clips(4 * k, 80), clips(4 * k, 50)) for k, label in enumerate(CLASSES["orbit"])}
    rows = list(audit["audit_pair"]("orbit", features))
    assert (0, "mean") in audit["faults"](rows)


def test_the_two_classes_of_a_reversal_have_the_same_frames_on_average():
    """Clips of different seeds, with noise: what is left when order is thrown away does not tell the classes apart.

    For each pair the mean frame of 16 clips in 4 x 4 blocks, without its brightness, which varies most; the difference
    is compared with its standard error. Over 11 pairs x 48 numbers such z-scores have a mean square of about 1. The
    other kinds are audited with probes (benchmarks/audit.py).
    """
    scores = []
    for number, pair in enumerate(Reversal.PAIRS.values()):
        seeds = iter(range(1000 * number, 1000 * number + 32))
        one, other = ([_blocks(label, next(seeds)) for _ in range(16)] for label in pair)
        error = np.sqrt((np.var(one, 0, ddof=1) + np.var(other, 0, ddof=1)) / 16)
        scores.append((np.mean(one, 0) - np.mean(other, 0)) / error)
    assert np.square(scores).mean() < 1.3
    assert np.abs(scores).max() < 6


def _blocks(label: str, seed: int) -> np.ndarray:
    """The mean over the eight frames that are looked at, in 4 x 4 blocks, less its mean, [4 * 4 * 3]."""
    clip = draw_clip(label, np.random.default_rng(seed))[uniform_indices(NUM_FRAMES, 8)]
    blocks = clip.reshape(8, 4, 16, 4, 16, 3).mean((0, 2, 4)).ravel()
    return blocks - blocks.mean()
