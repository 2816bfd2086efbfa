"""Compare ways of teaching an image-text model motion, with and without motion descriptions.

The public names are imported when they are first used, so that `import kinetext` stays fast. docs/python.md shows how
to use them.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kinetext.api import Run, build_method, check_config, load_backbone, load_run, read_table

__all__ = ["Run", "build_method", "check_config", "load_backbone", "load_run", "read_table"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'kinetext' has no attribute {name!r}")
    from kinetext import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
