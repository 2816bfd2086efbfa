"""What backbone.yaml says of a prepared backbone. Imports nothing heavy, so that describe-classes starts fast."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from kinetext.core import plugins


def read_architecture(folder: Path) -> dict[str, Any]:
    """Return the content of backbone.yaml. Raises ValueError for one of an earlier version."""
    content = yaml.safe_load((folder / "backbone.yaml").read_text())
    if "module" not in content:
        raise ValueError(f"{folder}: was written by an earlier version of kinetext; delete the folder and run again")
    return content


def token_limit(folder: Path) -> tuple[int, Callable[[str], int]]:
    """Return a backbone's context length and a function that counts a text's tokens; it loads the tokenizer when called."""
    content = read_architecture(folder)

    @cache
    def counter() -> Callable[[str], int]:
        return plugins.load("backbones", content["module"]).token_counter(content)

    return content["context_length"], lambda text: counter()(text)
