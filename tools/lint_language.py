"""Check the words of this repository: names, first words of docstrings, phrases, and references to files outside it.
Phrases and references are looked for line by line, names and docstrings in the syntax tree.

python tools/lint_language.py            fail where a path outside REPORT_ONLY breaks a rule; count the rest
python tools/lint_language.py PATH ...   fail where a file at or below one of these paths breaks a rule
"""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
REPORT_ONLY: list[str] = []  # paths that are only counted, while a change of words is under way
HISTORY = ["CHANGELOG.md", "docs/lab-log.md", "docs/decisions", "tools/lint_language.py"]  # quote old words
SUFFIXES = (".py", ".smk", ".md", ".yaml", ".toml", ".html", ".js", ".j2", ".sh", "Snakefile", "Makefile")

NAMES = {"found", "said", "told", "made", "own", "place", "given", "again", "each", "yours"}
NOT_VERBS = re.compile(  # words that ruff's D401 lets pass
    r"(?i)(all|as|at|both|by|each|every|for|from|how|if|in|its|no|of|on|one|only|same|to|two|when|where|whether|which|"
    r"who|why|with|yes|you)\b"
)
PHRASES = {  # regular expression -> what to write
    r"\bwhoever\b": "name the person or program",
    r"\btold apart\b": "significantly different, or distinguished",
    r"\b(is|are|was|be) told\b": "say who passes what",
    r"\bgo(es|ing)? on where\b": "resumes from",
    r"\bof which\b": "two sentences",
    r"\bfor its own sake\b|\bhouse plan\b": "plain words",
    r"\bthat you can believe\b": "say what was measured",
    r"\bgoes before it\b": "takes precedence",
    r"\bgoes nowhere\b": "never stored or logged",
    r"\bTo be known\b": "Note",
    r"\bcost(s|ed)? one sentence\b": "gives an error message",
    r"\bsays so\b": "has an error message, or declares it",
    r"\bwhat there is\b": "name it",
}
OUTSIDE = r"\breference/\w|\bDESIGN(\.md)?\b|\b(video|stan|demo|field)\.md\b|\bissues? \d"


def names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and name of everything that a file names itself: functions, arguments, variables, attributes."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.lineno, node.name
            case ast.arg():
                yield node.lineno, node.arg
            case ast.Name(ctx=ast.Store()):
                yield node.lineno, node.id
            case ast.Attribute(ctx=ast.Store()):
                yield node.lineno, node.attr
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
                yield node.lineno, name


def docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and docstring of each public function; properties are named for what they hold."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            is_property = any("property" in ast.unparse(decorator) for decorator in node.decorator_list)
            if not is_property and (text := ast.get_docstring(node)):
                yield node.lineno, text


def check_python(path: str, text: str) -> Iterator[tuple[int, str]]:
    """Yield line and message for each name and docstring of a Python file that breaks a rule."""
    tree = ast.parse(text)
    for line, name in names(tree):
        if re.sub(r"_[A-Z0-9]+$", "", name).strip("_") in NAMES:
            yield line, f"the name `{name}`: name what it holds"
    for line, text in docstrings(tree) if path.startswith("src/") else ():
        if word := NOT_VERBS.match(text):
            yield line, f"the docstring starts with '{word[0]}': start with an imperative verb"


def check(path: str) -> Iterator[tuple[int, str]]:
    """Yield line and message for everything in one file that breaks a rule."""
    text = (ROOT / path).read_text()
    if path.endswith(".py"):
        yield from check_python(path, text)
    for number, line in enumerate(text.splitlines(), 1):
        if reference := re.search(OUTSIDE, line):
            yield number, f"'{reference[0]}' is outside this repository: state the fact itself"
        for pattern, instead in PHRASES.items():
            if phrase := re.search(pattern, line):
                yield number, f"'{phrase[0]}': {instead}"


def main(paths: list[str]) -> int:
    """Print what breaks a rule; return 1 if anything does that is not report-only."""

    def below(path: str, tops: list[str]) -> bool:
        return any(path == top or path.startswith(f"{top.rstrip('/')}/") for top in tops)

    files = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).split()
    files = [f for f in files if f.endswith(SUFFIXES) and not below(f, HISTORY) and (ROOT / f).exists()]
    failures, reported = 0, Counter[str]()
    for path in [f for f in files if not paths or below(f, paths)]:
        messages = list(check(path))
        if below(path, REPORT_ONLY) and not paths:
            reported["/".join(path.split("/")[: 3 if path.startswith("src/") else 2])] += len(messages)
            continue
        failures += len(messages)
        print(*(f"{path}:{line}: {message}" for line, message in messages), sep="\n", end="\n" if messages else "")
    if any(reported.values()):
        print("not held yet:", ", ".join(f"{top} {count}" for top, count in reported.most_common() if count))
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
