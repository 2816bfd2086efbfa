"""docs/methods.md is what tools/methods_page.py writes from the modules."""

import subprocess
import sys

from repository import ROOT


def test_the_page_of_methods_is_up_to_date():
    done = subprocess.run(
        [sys.executable, "tools/methods_page.py"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=600
    )
    assert done.stdout == (ROOT / "docs/methods.md").read_text("utf-8"), (
        "write it: tools/methods_page.py > docs/methods.md"
    )
