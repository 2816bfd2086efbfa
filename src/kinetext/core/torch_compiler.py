"""Training without torch's compiler, `torch._dynamo`, whose import takes two seconds of processor time.

An optimizer imports it to mark functions that must not be compiled, though nothing is compiled here unless
`training.compile` is on (torch/optim/optimizer.py, torch/_compile.py).
"""

import importlib
import sys
from types import ModuleType
from typing import Any

NAME = "torch._dynamo"


class _NotImported(ModuleType):
    """The two functions that an optimizer calls. Any other attribute imports the compiler."""

    @staticmethod
    def graph_break() -> None:
        """Do nothing, as the compiler does outside of compiled code."""

    @staticmethod
    def disable(function: Any = None, recursive: bool = True, **options: Any) -> Any:
        """Return the function, or a decorator that returns it: it is not compiled anyway."""
        return (lambda decorated: decorated) if function is None else function

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__path__":  # Python asks for __path__ to import a module below this one
            raise AttributeError(name)
        if sys.modules.get(NAME) is self:
            del sys.modules[NAME]
        return getattr(importlib.import_module(NAME), name)


def defer_torch_compiler() -> None:
    """Import torch's compiler when it is first used, not when the first optimizer is made.

    It is for processes that train and end. If a module below `torch._dynamo` is the first that is imported, Python
    executes it twice, and two copies of its classes exist.
    """
    sys.modules.setdefault(NAME, _NotImported(NAME))
