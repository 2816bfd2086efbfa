"""The shape of the source. Test folders are no packages, so test modules need unique names. Of a module and a package of
one name only the package is read. A function fits on a screen. Tests that are named as proof exist.
"""

import ast
import re
from collections import Counter

from repository import ROOT


def test_module_names_are_unique_in_all_of_tests():
    names = Counter(path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py")
    assert [name for name, count in names.items() if count > 1] == []


def test_no_module_has_the_name_of_a_package_beside_it():
    """Python reads the package, so changes of the module would have no effect."""
    source = ROOT / "src/kinetext"
    assert [str(path.relative_to(source)) for path in source.rglob("*.py") if path.with_suffix("").is_dir()] == []


def test_no_function_has_more_than_60_lines():
    long = [
        f"{path.name}: {node.name}"
        for path in (ROOT / "src/kinetext").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno >= 60
    ]
    assert long == []


def test_tests_that_the_docs_name_exist():
    modules = {path.name: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    named = {
        name
        for page in (ROOT / "docs").rglob("*.md")
        for name in re.findall(r"(test_\w+\.py)::(\w+)", page.read_text())
    }
    assert len(named) > 70
    assert [name for name in named if f"def {name[1]}(" not in modules.get(name[0], "")] == []
    pages = "\n".join(page.read_text() for page in (ROOT / "docs").glob("*.md"))
    assert [name for name in re.findall(r"`(test_\w+\.py)`", pages) if name not in modules] == []
    defined = "\n".join(modules.values())
    assert [name for name in re.findall(r"`::(test_\w+)`", pages) if f"def {name}(" not in defined] == []


def test_every_test_module_that_is_named_exists():
    """A docstring or a page that names a test as its proof is read by someone who looks it up."""
    texts = [
        *(ROOT / "src").rglob("*.py"),
        *(ROOT / "tools").rglob("*.py"),
        *(ROOT / "docs").rglob("*.md"),
        *ROOT.glob("*.md"),
    ]
    missing = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in texts
        for name in re.findall(r"\btests/[\w/]+\.py\b", path.read_text("utf-8"))
        if not (ROOT / name).is_file()
    ]
    assert missing == []
