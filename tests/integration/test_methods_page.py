"""docs/methods.md is what tools/methods_page.py writes from the modules, and the operations in it are those of the methods."""

import json
import subprocess
import sys

import pytest

from kinetext.core import plugins
from repository import ROOT

sys.path.insert(0, str(ROOT / "tools"))
import methods_page

COUNTED = json.loads(methods_page.GFLOPS.read_text())


def test_the_page_of_methods_is_up_to_date():
    done = subprocess.run(
        [sys.executable, "tools/methods_page.py"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=600
    )
    assert done.stdout == (ROOT / "docs/methods.md").read_text("utf-8"), (
        "write it: tools/methods_page.py > docs/methods.md"
    )


def test_the_operations_of_every_method_are_stored():
    assert list(COUNTED) == list(plugins.built_in("methods")), "run: tools/methods_page.py --count METHOD"


@pytest.mark.parametrize("name", ["zero_shot", "x_pool"])
def test_stored_operations_are_those_that_are_counted(name):
    assert methods_page.gflops(name) == pytest.approx(COUNTED[name], rel=1e-6)


def test_zero_shot_has_the_operations_of_the_image_encoder():
    """12 layers on 197 tokens of width 768: projections, attention, MLP; the patches; the projection of a frame."""
    N, V, D, L = 197, 768, 512, 12
    layer = 12 * N * V**2 + 2 * N**2 * V
    frame = 196 * (3 * 16**2) * V + L * layer + V * D
    assert COUNTED["zero_shot"] == pytest.approx(8 * 2 * frame / 1e9, rel=1e-3)
