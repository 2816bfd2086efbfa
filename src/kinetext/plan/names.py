"""Where an error of a configuration is: the key of a part, and names that no part has."""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kinetext.core import plugins


@contextmanager
def within(where: str) -> Iterator[None]:
    """Prefix an error about the options of a part with the key of the part."""
    try:
        yield
    except ValueError as error:
        keyed = re.match(r"[\w.]+: ", str(error))  # an error about several options begins otherwise
        raise ValueError(f"{where}{'.' if keyed else ': '}{error}") from None


def check_known(where: str, part: str, names: Iterable[str], known: Mapping[str, Any]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{where}: '{name}' is not in {part}{plugins.nearest(name, list(known))}")
