"""What backbone.yaml says of a prepared backbone. Imports nothing heavy, so that describe-classes starts fast."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from kinetext.core import plugins


def read_architecture(folder: Path) -> dict[str, Any]:
    """Read backbone.yaml from the folder of a backbone. Raises ValueError for a file of an earlier version."""
    content = yaml.safe_load((folder / "backbone.yaml").read_text())
    if "module" not in content:
        raise ValueError(f"{folder}: was written by an earlier version of kinetext; delete the folder and run again")
    return content


def token_limit(folder: Path) -> tuple[int, Callable[[str], int]]:
    """Return the context length of a backbone and a function that counts the tokens of a text.

    The function loads the tokenizer when it is first called. Without a text encoder it returns 0.
    """
    content = read_architecture(folder)

    @cache
    def counter() -> Callable[[str], int]:
        family = plugins.load("backbones", content["module"])
        return family.token_counter(content) if family.has_text else lambda text: 0

    return content["context_length"], lambda text: counter()(text)
