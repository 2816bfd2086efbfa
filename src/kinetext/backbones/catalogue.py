"""The architectures of open_clip and kinetext-tiny, read from JSON files, because importing open_clip takes seconds."""

import importlib.util
import json
from functools import cache
from pathlib import Path

from kinetext.backbones.base import Facts
from kinetext.core.plugins import nearest

ASSETS = Path(__file__).parent / "tiny/assets"


@cache
def model_files() -> dict[str, Path]:
    """Return the file of each architecture that open_clip or this package describes, by its name."""
    spec = importlib.util.find_spec("open_clip")
    folders = [Path(path) / "model_configs" for path in (spec.submodule_search_locations or [])] if spec else []
    return {file.stem: file for folder in (*folders, ASSETS) for file in sorted(folder.glob("*.json"))}


def facts_of(model: str) -> Facts:
    """Return image size, number of layers, context length and cost of an open_clip model with a plain ViT.

    Raises ValueError if the model is unknown or if its image encoder is not a plain ViT.
    """
    if model not in model_files():
        raise ValueError(f"open_clip has no model '{model}'{nearest(model, sorted(model_files()))}")
    settings = json.loads(model_files()[model].read_text())
    vision = {"layers": 12, "image_size": 224, **settings["vision_cfg"]}
    if not isinstance(vision["layers"], int) or "timm_model_name" in vision:
        raise ValueError(f"'{model}' has no plain ViT image encoder; take one such as ViT-B-32, ViT-B-16 or ViT-L-14")
    text = {"layers": 12, "width": 512, "context_length": 77, "vocab_size": 49408, **settings["text_cfg"]}
    tokens = (vision["image_size"] // vision.get("patch_size", 16)) ** 2 + 1
    encoders = (
        (tokens, vision.get("width", 768), vision["layers"]),
        (text["context_length"], text["width"], text["layers"]),
    )
    image_gflop, text_gflop = (gflop(*encoder) for encoder in encoders)
    parameters = sum(12 * width**2 * layers for _, width, layers in encoders) + text["vocab_size"] * text["width"]
    return Facts(
        vision["image_size"], vision["layers"], int(text["context_length"]), image_gflop, text_gflop, parameters
    )


def gflop(tokens: int, width: int, layers: int, mlp_ratio: float = 4.0) -> float:
    """Return the GFLOP of a transformer's matrix products: its weights, and attention among all tokens.

    A layer has 4 V^2 weights of attention and 2 `mlp_ratio` V^2 of the MLP. A multiply-add counts as two operations.
    """
    weights = (4 + 2 * mlp_ratio) * width**2
    return layers * (2 * tokens * weights + 4 * tokens**2 * width) / 1e9
