"""Digests of code: a rule that carries the digest of its code runs again when that code changes.

The code of a rule is the import closure of the module that holds its command's function: the modules that it imports,
also inside functions, and the modules that those import. The closure stops at packages whose output is an input of the
rule, because an edit of such a package shows in that input. Data files beside a module, for instance templates, belong
to the closure if the module names them. Nothing is imported here; files are parsed.
"""

import ast
import hashlib
import importlib.util
import os
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

PACKAGE = "kinetext"
STOPS = (f"{PACKAGE}.core", f"{PACKAGE}.config")  # of every closure: no science, and options that arrive as parameters


def closure_digest(modules: Iterable[str], stops: Iterable[str] = (), root: Path | None = None) -> str:
    """Return a digest of the import closure of some modules: 12 hexadecimal digits.

    Comments, docstrings and layout do not change the digest.
    """
    digest = hashlib.sha256()
    for name, file in closure(modules, stops, root).items():
        label = name if "." in name and not name.endswith(".py") else file.name  # a plug-in file may lie anywhere
        digest.update(f"{label}\0{_read(file).digest}\0".encode())
    return digest.hexdigest()[:12]


def closure(modules: Iterable[str], stops: Iterable[str] = (), root: Path | None = None) -> dict[str, Path]:
    """Return the files of the import closure of some modules: name -> file, sorted by name.

    A module is a dotted name or the path of a Python file. `root` is the folder of the package kinetext that is read,
    by default the installed one. Imports are followed within kinetext and within the top-level packages of `modules`;
    the closure leaves out the packages in `stops` and STOPS. Raises ValueError for a module without a source file.
    """
    root = root or Path(__file__).parents[1]
    stops = (*STOPS, *stops)
    followed = {PACKAGE, *(name.partition(".")[0] for name in modules if not name.endswith(".py"))}
    find, content = cache(partial(module_file, root=root)), cache(_folder_content)
    files: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in files or any(name == stop or name.startswith(f"{stop}.") for stop in stops):
            continue
        file = find(name)
        if file is None:
            raise ValueError(f"{name}: has no source file, so changes of its code cannot be seen")
        files[name] = file
        files |= {f"{name}:{data.name}": data for data in _data_files(file, content)}
        waiting += [module for module in _imports(name, file, followed) if find(module)]
    return dict(sorted(files.items()))


def module_file(name: str, root: Path) -> Path | None:
    """Return the source file of a module, or None if there is none. `name` is a dotted name or the path of the file."""
    if name.endswith(".py"):
        return Path(name).expanduser()
    top, _, rest = name.partition(".")
    if top == PACKAGE:
        folder = root
    else:
        spec = importlib.util.find_spec(top)
        if spec is None:
            return None
        if not spec.submodule_search_locations:  # a package of one file
            return Path(spec.origin) if spec.origin and not rest else None
        folder = Path(next(iter(spec.submodule_search_locations)))  # a namespace package has no origin
    path = os.path.join(folder, *filter(None, rest.split(".")))  # strings, because most names are members of modules
    return next((Path(file) for file in (f"{path}.py", f"{path}/__init__.py") if os.path.isfile(file)), None)


def read_constant(module: str, name: str, root: Path | None = None) -> str:
    """Return the source code of the value that a module assigns to the constant `name`.

    Raises ValueError if the module does not assign it.
    """
    file = module_file(module, root or Path(__file__).parents[1])
    for node in ast.parse(file.read_bytes()).body if file else []:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return ast.unparse(node.value)
    raise ValueError(f"{module}: assigns no {name}")


class _Source(NamedTuple):
    """The parts of a file that digests and closures need."""

    digest: str  # of Python code: that of its syntax tree without docstrings
    imports: tuple[tuple[int, str, tuple[str, ...]], ...] = ()  # level of a relative import, module, members
    strings: frozenset[str] = frozenset()


def _read(file: Path) -> _Source:
    return _parse(file, file.stat().st_mtime_ns)


@cache
def _parse(file: Path, changed_ns: int) -> _Source:
    """Parse a file; the result is cached until the file's modification time changes."""
    content = file.read_bytes()
    if file.suffix != ".py":
        return _Source(hashlib.sha256(content).hexdigest())
    tree = ast.parse(content)
    strings = frozenset(n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str))
    imports: list[tuple[int, str, tuple[str, ...]]] = []
    for node in _executed(tree):
        if isinstance(node, ast.Import):
            imports += [(0, alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imports.append((node.level, node.module or "", tuple(alias.name for alias in node.names)))
    remove_docstrings(tree)
    return _Source(hashlib.sha256(ast.dump(tree).encode()).hexdigest(), tuple(imports), strings)


def remove_docstrings(tree: ast.AST) -> None:
    """Remove the docstrings of a module and of its classes and functions."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node, clean=False) is not None
        ):
            del node.body[0]


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes below a node, except those under `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for other in child.orelse:
                yield from _executed(other)
        else:
            yield child
            yield from _executed(child)


def _imports(name: str, file: Path, followed: set[str]) -> Iterator[str]:
    """Yield the names that a module imports from the packages in `followed`: modules, and members that may be modules.

    The packages around each module are yielded too, because importing a module runs their `__init__`. kinetext's own
    `__init__` is left out.
    """
    package = "" if name.endswith(".py") else name if file.name == "__init__.py" else name.rpartition(".")[0]
    for target in (name, *_targets(file, package)):
        if target.partition(".")[0] in followed and not target.endswith(".py"):
            yield from (module for module in (target, *_packages(target)) if module not in (name, PACKAGE))


def _targets(file: Path, package: str) -> Iterator[str]:
    """Yield all names that a file in `package` imports: modules, and members that may be modules."""
    for level, module, members in _read(file).imports:
        above = package.split(".")[: len(package.split(".")) - level + 1] if level else []
        origin = ".".join([*above, *([module] if module else [])])
        yield from (origin, *(f"{origin}.{member}" for member in members))


def _packages(name: str) -> Iterator[str]:
    """Yield the names of the packages around a module, the innermost first."""
    while name := name.rpartition(".")[0]:
        yield name


def _folder_content(folder: Path) -> tuple[list[Path], dict[str, Path]]:
    """Return the data files in a folder, and the folders in it by name."""
    with os.scandir(folder) as entries:
        kinds = [(entry.name, entry.is_dir()) for entry in entries]
    files = [folder / name for name, is_folder in kinds if not is_folder and not name.endswith((".py", ".pyc"))]
    return [file for file in files if file.suffix], {name: folder / name for name, is_folder in kinds if is_folder}


def _data_files(file: Path, content: Callable[[Path], tuple[list[Path], dict[str, Path]]]) -> list[Path]:
    """Return the data files that a module names, and files that these name, such as the style sheet of a template.

    The files are beside the module, or in a folder beside it that the module names. `content` is `_folder_content`.
    """
    strings = _read(file).strings
    beside, folders = content(file.parent)
    beside = beside + [path for name in folders.keys() & strings for path in content(folders[name])[0]]
    files = [path for path in beside if path.name in strings]
    for path in files:
        raw = path.read_bytes()
        files += [other for other in beside if other not in files and other.name.encode() in raw]
    return files
