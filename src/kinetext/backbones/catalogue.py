"""The architectures of open_clip and kinetext-tiny, read from JSON files, because importing open_clip takes seconds."""

import importlib.util
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from kinetext.core.plugins import nearest

ASSETS = Path(__file__).parent / "tiny/assets"
SUBSTITUTES = (  # pattern of an unsupported architecture -> the nearest supported one; the first match counts
    (r"RN50x64", "ViT-L-14-336"),
    (r"RN50x16", "ViT-L-14"),
    (r"RN50x4", "ViT-B-16"),
    (r"RN", "ViT-B-32"),
    (r"MobileCLIP2-S4", "MobileCLIP2-L-14"),
    (r"MobileCLIP2", "MobileCLIP2-B"),
    (r"MobileCLIP", "MobileCLIP-B"),
    (r"ViTamin-(S|B)", "ViT-B-16"),
    (r"ViTamin-XL", "ViT-H-14-378"),
    (r"ViTamin.*-3", "ViT-L-14-336"),
    (r"ViTamin", "ViT-L-14"),
    (r"convnext_(tiny|small)", "ViT-B-32"),
    (r"convnext_base", "ViT-B-16"),
    (r"convnext_large", "ViT-L-14"),
    (r"convnext", "ViT-H-14"),
    (r"coca_roberta", "coca_ViT-B-32"),
    (r"roberta", "ViT-B-32"),
    (r"(xlm-roberta-large|mt5-xl|nllb-clip-large$)", "ViT-H-14-worldwide"),  # multilingual
    (r"nllb-clip-large", "ViT-SO400M-16-SigLIP-i18n-256"),
    (r"(xlm|mt5|nllb)", "ViT-B-16-SigLIP-i18n-256"),
    (r"", "ViT-B-16"),
)


@cache
def model_files() -> dict[str, Path]:
    """Return the file of each architecture that open_clip or this package describes, by its name."""
    spec = importlib.util.find_spec("open_clip")
    folders = [Path(path) / "model_configs" for path in (spec.submodule_search_locations or [])] if spec else []
    return {file.stem: file for folder in (*folders, ASSETS) for file in sorted(folder.glob("*.json"))}


def settings_of(model: str) -> dict[str, Any]:
    """Return the configuration of an architecture. Raises ValueError, with the most similar name, if it is unknown."""
    if model not in model_files():
        raise ValueError(f"open_clip has no model '{model}'{nearest(model, sorted(model_files()))}")
    return json.loads(model_files()[model].read_text())


def substitute_of(model: str) -> str:
    """Return the supported architecture nearest to an unsupported one: similar cost and, if possible, similar data."""
    return next(substitute for pattern, substitute in SUBSTITUTES if re.match(pattern, model))


def refusal(model: str, problem: str) -> str:
    """Return the error message for an architecture with an unsupported part (`problem`)."""
    return (
        f"open_clip's '{model}' has {problem}, which is not supported; the nearest supported model is "
        f"{substitute_of(model)}"
    )


def gflop(tokens: int, width: int, layers: int, mlp_ratio: float = 4.0) -> float:
    """Return the GFLOP of a transformer's matrix products: its weights, and attention among all tokens.

    A layer has 4 V^2 weights of attention and 2 `mlp_ratio` V^2 of the MLP. A multiply-add counts as two operations.
    """
    weights = (4 + 2 * mlp_ratio) * width**2
    return layers * (2 * tokens * weights + 4 * tokens**2 * width) / 1e9
