"""Which architectures open_clip knows, read from the files that it ships: importing it takes seconds, a check of
config.yaml may not.
"""

import importlib.util
import json
from functools import cache
from pathlib import Path
from typing import Any

from kinetext.core.plugins import nearest

ASSETS = Path(__file__).parent / "tiny/assets"


@cache
def _files() -> dict[str, Path]:
    spec = importlib.util.find_spec("open_clip")
    folders = [Path(place) / "model_configs" for place in (spec.submodule_search_locations or [])] if spec else []
    return {file.stem: file for folder in (*folders, ASSETS) for file in sorted(folder.glob("*.json"))}


def context_length(model: str) -> int:
    """The longest text that an architecture's text tower takes, in tokens, the start and end token included."""
    return int(json.loads(_files()[model].read_text())["text_cfg"].get("context_length", 77))


def vision_settings(model: str) -> dict[str, Any]:
    """The `vision_cfg` of an architecture: layers, width, image_size (px), ... ValueError if there is none."""
    if model not in _files():
        raise ValueError(f"open_clip has no model '{model}'{nearest(model, sorted(_files()))}")
    settings = json.loads(_files()[model].read_text())["vision_cfg"]
    if not isinstance(settings.get("layers", 12), int) or "timm_model_name" in settings:
        raise ValueError(f"'{model}' has no plain ViT image tower; take one such as ViT-B-32, ViT-B-16 or ViT-L-14")
    return {"layers": 12, "image_size": 224, **settings}
