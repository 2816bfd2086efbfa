"""Plug-ins: classes of six kinds, each found by the name of its module, a dotted path, a file or an entry point.

A plug-in is one class in a separate module. The class extends the base class of its kind (in `base.py` of the kind's
package), which has defaults for everything optional. Its nested `Config` is a frozen pydantic model, so that options
are checked by name, type and range.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import pkgutil
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError


class Options(BaseModel):
    """Base class of all options: they are frozen, and unknown options are refused."""

    operational: ClassVar[frozenset[str]] = frozenset()
    """The options that change no result, such as rates and limits. A change of them reruns nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Kind:
    """A kind of plug-in: package of the built-in plug-ins, name of the base class, and modules that are no plug-ins."""

    package: str
    base: str
    shared: tuple[str, ...] = ("base",)


KINDS = {
    "datasets": Kind("kinetext.data.datasets", "Dataset"),
    "texts": Kind("kinetext.texts.providers", "Provider"),
    "backbones": Kind(
        "kinetext.backbones",
        "Backbone",
        (
            "base",
            "architecture",
            "attention",
            "catalogue",
            "checkpoint",
            "clip_layer",
            "torchscript",
            "weights",
            "download",
            "embed",
            "hub_clip",
            "hub_folder",
            "hub_siglip",
            "hf_clip",
            "layer",
            "library",
            "lora",
            "supported",
            "native_models",
            "native_pooling",
            "open_clip_base",
            "text_groups",
            "text_steps",
            "text_table",
            "text_tokens",
            "text_tower",
            "timm_layers",
            "timm_models",
            "values",
        ),
    ),
    "methods": Kind("kinetext.methods", "Method", ("base", "alignment", "blocks", "checkpoint", "fitting", "frames")),
    "terms": Kind("kinetext.training.loss_terms", "LossTerm"),
    "metrics": Kind("kinetext.evaluation.metrics", "Metric"),
}


def names(kind: str) -> list[str]:
    """Return the built-in plug-ins of a kind and those that installed packages register, sorted."""
    return sorted({*built_in(kind), *(point.name for point in registered(kind))})


def built_in(kind: str) -> list[str]:
    """Return the names of the plug-ins of a kind that belong to kinetext, sorted."""
    package = importlib.import_module(KINDS[kind].package)
    modules = {m.name for m in pkgutil.iter_modules(package.__path__)}
    return sorted(name for name in modules - set(KINDS[kind].shared) if not name.startswith("_"))


@cache
def registered(kind: str) -> tuple[EntryPoint, ...]:
    """Return the entry points of the group `kinetext.KIND` that installed packages declare.

    Each entry point names a module or a class (`module:Class`).
    """
    return tuple(entry_points(group=f"kinetext.{kind}"))


def load(kind: str, name: str) -> type[Any]:
    """Return the class of a plug-in.

    `name` is a built-in or registered plug-in (`stan`), a dotted path to a module (`my_lab.methods.foo`), or the path
    of a Python file, relative to the working directory. Raises ValueError if there is no such plug-in, with the most
    similar name, or if the module cannot be used, with the reason.
    """
    base = getattr(importlib.import_module(f"{KINDS[kind].package}.base"), KINDS[kind].base)
    module = _module(kind, name)
    if isinstance(module, type):
        if not issubclass(module, base):
            raise ValueError(f"{kind}: class {module.__qualname__} of '{name}' does not extend {base.__name__}")
        return module
    classes = [value for value in vars(module).values() if isinstance(value, type) and _is_plugin(value, base, module)]
    leaves = [c for c in classes if not any(c is not other and issubclass(other, c) for other in classes)]
    if len(leaves) != 1:
        defined = ", ".join(c.__name__ for c in leaves) or "none"
        raise ValueError(
            f"{kind}: module '{name}' must define one subclass of {base.__module__}.{base.__name__}; it defines {defined}"
        )
    return leaves[0]


def load_for(where: str, kind: str, name: str) -> type[Any]:
    """Return the class of a plug-in, like `load`. A ValueError begins with `where`, the key of the configuration."""
    try:
        return load(kind, name)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


@contextmanager
def error_prefix(where: str) -> Iterator[None]:
    """Prefix a ValueError of the block with `where`.

    The message becomes `{where}.KEY: ...` if the error is about one option, else `{where}: ...`.
    """
    try:
        yield
    except ValueError as error:
        keyed = re.match(r"[\w.]+: ", str(error))  # an error about several options begins otherwise
        raise ValueError(f"{where}{'.' if keyed else ': '}{error}") from None


def _is_plugin(value: type, base: type, module: ModuleType) -> bool:
    """Return whether `value` is a public subclass of `base` that `module`, or a submodule of it, defines."""
    is_local = f"{value.__module__}.".startswith(f"{module.__name__}.")
    return is_local and issubclass(value, base) and not value.__name__.startswith("_")


def _module(kind: str, name: str) -> Any:
    """Return the module of a plug-in, or the class that an entry point names."""
    if name.endswith(".py"):
        return _from_file(kind, name)
    points = [point for point in registered(kind) if point.name == name]
    is_built_in = name in built_in(kind)
    if len(points) + is_built_in > 1:
        packages = ", ".join(sorted(point.value for point in points) + ["kinetext"] * is_built_in)
        raise ValueError(f"{kind}: '{name}' is defined more than once ({packages}); give the module's dotted path")
    if points:
        return _imported(kind, name, points[0].load)
    if is_built_in:
        return importlib.import_module(f"{KINDS[kind].package}.{name}")
    if "." not in name:
        raise ValueError(f"no module '{name}' among {kind}{nearest(name, names(kind))}")
    return _imported(kind, name, lambda: importlib.import_module(name))


def _from_file(kind: str, name: str) -> ModuleType:
    """Import a Python file as a module. A file that was imported before is not imported again."""
    path = Path(name).expanduser().resolve()
    if not path.is_file():
        raise ValueError(
            f"{kind}: there is no file {path}; a relative path starts at the working directory {Path.cwd()}"
        )
    known_as = f"kinetext_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if known_as not in sys.modules:
        spec = importlib.util.spec_from_file_location(known_as, path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[known_as] = importlib.util.module_from_spec(spec)
        try:
            _imported(kind, name, partial(spec.loader.exec_module, module))
        except BaseException:
            del sys.modules[known_as]
            raise
    return sys.modules[known_as]


def _imported(kind: str, name: str, load_it: Callable[[], Any]) -> Any:
    """Return the result of `load_it`, which imports a plug-in.

    Raises ValueError with the error that the import raised, and its line.
    """
    try:
        return load_it()
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            advice = "is its package installed, or its folder on PYTHONPATH?"
        else:
            advice = f"install '{error.name}'"
        raise ValueError(f"{kind}: cannot import '{name}' ({error}); {advice}") from error
    except SyntaxError as error:  # its message has the line
        raise ValueError(f"{kind}: importing '{name}' raises SyntaxError: {error}") from error
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        raise ValueError(
            f"{kind}: importing '{name}' raises {type(error).__name__}: {error} ({at.filename}, line {at.lineno})"
        ) from error


def configure(plugin: Any, options: dict[str, Any]) -> Any:
    """Return the `Config` of a plug-in with these options.

    Raises ValueError with the wrong option, its value and what is allowed.
    """
    try:
        return plugin.Config(**options)
    except ValidationError as error:
        raise ValueError(sentence(error, plugin.Config)) from None


def nearest(word: str, known: list[str]) -> str:
    """Return the end of an error message: the known word most similar to `word`, or all if none is similar."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(known)}"


def sentence(error: ValidationError, model: type[BaseModel]) -> str:
    """Return the first error of a pydantic validation as one sentence: the key, what is wrong, and the value."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"] if part != "[key]")
    if first["type"] == "extra_forbidden":
        return f"{key}: unknown key{nearest(str(first['loc'][-1]), _fields(model, first['loc'][:-1]))}"
    if first["type"] == "missing":
        return f"{key}: is missing"
    message = first["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if first["type"] == "value_error":
        return f"{key}: {message}" if key else message
    return f"{key}: {message}, not {first['input']!r}"


def _fields(model: Any, path: tuple[Any, ...]) -> list[str]:
    """Return the field names of the model at `path`, a path of keys below `model`."""
    for part in path:
        if isinstance(part, int):
            continue
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:  # a key of a mapping: its values' model was already reached
            continue
        model = _innermost(field.annotation)
    return list(getattr(model, "model_fields", {}))


def _innermost(annotation: Any) -> Any:
    """Return the model inside an annotation such as list[...], dict[str, ...] or X | None."""
    arguments = [a for a in getattr(annotation, "__args__", ()) if a is not type(None)]
    return _innermost(arguments[-1]) if arguments else annotation
