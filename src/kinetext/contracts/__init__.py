"""Contract checks: functions that test what every plug-in of a kind must do, for `kinetext check-plugin` and the tests.

`contracts/KIND.py` has the tuple `CHECKS`. A check takes a `Case`, tests one promise of the plug-in, and raises
`ContractError` with a sentence if the promise is broken. The first line of the check's docstring states the promise.
"""

import importlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kinetext.core import plugins


class ContractError(ValueError):
    """A plug-in breaks a promise of its kind."""


@dataclass(frozen=True)
class Case:
    """A plug-in to check, with its options, an empty folder and, for text providers, the classes to describe."""

    kind: str
    module: str
    folder: Path
    options: dict[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] = ("rising", "falling")

    @property
    def cls(self) -> Any:
        """The class of the plug-in."""
        return plugins.load(self.kind, self.module)

    @property
    def config(self) -> Any:
        """The options, as an object of the plug-in's Config."""
        return plugins.configure(self.cls, self.options)


Check = Callable[[Case], None]


def require(condition: bool, message: str) -> None:
    """Raise ContractError with the message unless the condition holds."""
    if not condition:
        raise ContractError(message)


def promise(check: Check) -> str:
    """Return the promise that a check tests: the first line of its docstring without "Check that"."""
    return (check.__doc__ or check.__name__).partition("\n")[0].removeprefix("Check that ").rstrip(".")


def checks(kind: str) -> tuple[Check, ...]:
    """Return the checks of a kind: first those of every plug-in, then those of this kind."""
    return (is_documented, options_are_checked, *importlib.import_module(f"kinetext.contracts.{kind}").CHECKS)


def check_plugin(
    kind: str, module: str, folder: Path, options: dict[str, Any], labels: tuple[str, ...] = Case.labels
) -> Iterator[str]:
    """Run the checks of a kind on a plug-in and yield the promise of each check that passes.

    Each check gets a new empty folder in `folder`. The first check that fails raises ValueError, whose message states
    the promise. An error inside the plug-in counts as a failure.
    """
    plugins.load(kind, module)
    for check in checks(kind):
        case = Case(kind, module, folder / check.__name__, options, labels)
        case.folder.mkdir(parents=True)
        try:
            check(case)
        except Exception as error:
            detail = str(error) if isinstance(error, ContractError) else f"{type(error).__name__}: {error}"
            raise ValueError(f"{module}: '{promise(check)}' does not hold: {detail}") from error
        yield promise(check)


def is_documented(case: Case) -> None:
    """Check that the class or its module has a docstring."""
    module = inspect.getmodule(case.cls)
    documented = case.cls.__dict__.get("__doc__") or (module and module.__doc__)
    require(bool(documented), f"class {case.cls.__name__} and its module have none")


def options_are_checked(case: Case) -> None:
    """Check that Config is frozen, accepts the given options and refuses unknown ones."""
    require(
        isinstance(case.cls.Config, type) and issubclass(case.cls.Config, plugins.Options),
        f"{case.cls.__name__}.Config must extend kinetext.core.plugins.Options",
    )
    config = case.config
    for name in type(config).model_fields:
        try:
            setattr(config, name, getattr(config, name))
        except ValidationError:
            continue
        raise ContractError(f"option {name} can be changed afterwards; leave model_config of Options as it is")
    try:
        plugins.configure(case.cls, {**case.options, "no_such_option": 1})
    except ValueError:
        return
    raise ContractError("it accepts the option no_such_option; leave model_config of Options as it is")
