"""tools/lint_language.py on lines that break one rule each, and on lines that break none."""

import sys

import pytest

from repository import ROOT

sys.path.insert(0, str(ROOT / "tools"))
import lint_language

BANNED = "found"


@pytest.mark.parametrize(
    "line",
    [
        f"def f({BANNED}): pass",
        f"def _{BANNED}(): pass",
        f"for {BANNED} in rows: pass",
        f"rows = [{BANNED} for {BANNED} in rows]",
        f"self.{BANNED} = 1",
        f"class A:\n    {BANNED}: int = 0",
        f"{BANNED}_BK = 1",
        f"with open(path) as {BANNED}: pass",
        f"if ({BANNED} := 1): pass",
        'def f():\n    """Which rows there are."""',
    ],
)
def test_a_banned_name_or_a_docstring_without_a_verb_is_reported(line):
    assert len(list(lint_language.check_python("src/x.py", line))) >= 1


@pytest.mark.parametrize(
    "line", [f"row.{BANNED}", f"f({BANNED}=1)", f"not_{BANNED} = 1", 'def f():\n    """Return it."""']
)
def test_names_of_others_are_not_reported(line):
    assert list(lint_language.check_python("src/x.py", line)) == []


def test_phrases_and_references_are_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(lint_language, "ROOT", tmp_path)
    (tmp_path / "page.md").write_text("Ask who" + "ever.\n\nSee refer" + "ence/a.md.\nNothing here.\n")
    assert [line for line, _ in lint_language.check("page.md")] == [1, 3]
