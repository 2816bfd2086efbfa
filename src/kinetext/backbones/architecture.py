"""Read backbone.yaml, the description of a prepared backbone. No slow imports, so that describe-classes starts fast."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from kinetext.core import plugins


def read_architecture(folder: Path) -> dict[str, Any]:
    """Return the content of backbone.yaml in `folder`, plus the folder as key `folder`.

    Raises ValueError if an earlier version of kinetext wrote the file.
    """
    content = yaml.safe_load((folder / "backbone.yaml").read_text())
    if "module" not in content:
        raise ValueError(f"{folder}: was written by an earlier version of kinetext; delete the folder and run again")
    return {**content, "folder": str(folder)}


def token_limit(folder: Path) -> tuple[int, Callable[[str], int]]:
    """Return (context length, function that counts the tokens of a text) of a backbone.

    The function loads the tokenizer when it is first called. It returns 0 if the backbone has no text encoder.
    """
    content = read_architecture(folder)

    @cache
    def counter() -> Callable[[str], int]:
        family = plugins.load("backbones", content["module"])
        return family.token_counter(content) if family.has_text else lambda text: 0

    return content["context_length"], lambda text: counter()(text)
