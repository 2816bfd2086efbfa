"""A plug-in is a module named after itself: `plugins.load(methods, "stan")` is kinetext/methods/stan.py.

Each plug-in module has a frozen `Config` (a pydantic model, so that options are checked by name, type and range) and
the functions of its folder's contract, written in that folder's __init__.py.
"""

import difflib
import importlib
import pkgutil
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError


class Options(BaseModel):
    """Base of every plug-in's Config: frozen, and refuses an option that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def names(package: ModuleType) -> list[str]:
    """Return the plug-ins of a package, sorted; its modules `base` and `blocks` hold what they share."""
    shared = ("base", "blocks")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name not in shared and m.name[0] != "_")


def load(package: ModuleType, name: str) -> ModuleType:
    """The plug-in's module. Raises ValueError that names the nearest plug-in when there is none of this name."""
    known = names(package)
    if name not in known:
        kind = package.__name__.rsplit(".", 1)[-1]
        raise ValueError(f"no module '{name}' among {kind}{nearest(name, known)}")
    return importlib.import_module(f"{package.__name__}.{name}")


def configure(module: ModuleType, options: dict[str, Any]) -> Any:
    """The plug-in's Config from plain values. Raises ValueError: one sentence with option, value and what is right."""
    try:
        return module.Config(**options)
    except ValidationError as error:
        raise ValueError(sentence(error, module.Config)) from None


def nearest(word: str, known: list[str]) -> str:
    """How an error message ends: the nearest right answer, or all of them."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(known)}"


def sentence(error: ValidationError, model: type[BaseModel]) -> str:
    """The first complaint of pydantic as one sentence: the key, the value, what is right."""
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
    """Names of the fields of the model that a path of keys leads to."""
    for part in path:
        if isinstance(part, int):
            continue
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:  # a key of a mapping: its values' model was already reached
            continue
        model = _innermost(field.annotation)
    return list(getattr(model, "model_fields", {}))


def _innermost(annotation: Any) -> Any:
    """The model inside list[...], dict[str, ...] or X | None."""
    arguments = [a for a in getattr(annotation, "__args__", ()) if a is not type(None)]
    return _innermost(arguments[-1]) if arguments else annotation
