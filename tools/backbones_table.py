"""Write the table of architectures into docs/backbones.md (tests/unit/test_supported.py keeps it true)."""

from pathlib import Path

from kinetext.backbones.supported import with_table

ROOT = Path(__file__).parent.parent

if __name__ == "__main__":
    page = ROOT / "docs/backbones.md"
    page.write_text(with_table(page.read_text()))
