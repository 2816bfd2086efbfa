"""One pair of each kind of motion under the probes of benchmarks/audit.py, with fewer clips than there."""

import runpy

import numpy as np
import pytest

from kinetext.data.drawing import drawing_version
from kinetext.data.motion.kinds import CLASSES, KIND_OF_PAIR
from kinetext.report.audit import read_audits
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
