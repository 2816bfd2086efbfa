"""Test folders are no packages, so test modules need unique names."""

from collections import Counter

from repository import ROOT


def test_module_names_are_unique_in_all_of_tests():
    names = Counter(path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py")
    assert [name for name, count in names.items() if count > 1] == []
