"""Facts about open_clip's models with a timm ViT, without importing timm or open_clip, which takes seconds.

The sizes are those of timm 1.0 (tests/integration/test_timm_names.py builds every model without memory and compares).
The preprocessing of a family is that of open_clip's published weights.
"""

import re
from dataclasses import replace
from typing import Any, NamedTuple

from kinetext.backbones.catalogue import gflop, refusal, settings_of
from kinetext.backbones.values import Facts, Preprocess

OPENAI = Preprocess((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
FAMILIES: dict[str, Preprocess] = {  # pattern of open_clip's name and tag -> the preprocessing of its weights
    r"-CLIPA": Preprocess((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear", "squash"),
    r"ViT-H-14.* dfn5b|worldwide-378": replace(OPENAI, resize_mode="squash"),
    r"SigLIP": Preprocess(*HALF, "bicubic", "squash"),
    r"PE-Core": Preprocess(*HALF, "bilinear", "squash"),
    r"MobileCLIP2-L": OPENAI,
    r"MobileCLIP": Preprocess((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bilinear"),
}


class Size(NamedTuple):
    """Width, layers, patch size in pixels, and the width of the MLP relative to the width (as two matrices)."""

    width: int
    layers: int
    patch_px: int
    mlp_ratio: float = 4.0


SIZES: dict[str, Size] = {  # beginning of timm's name -> size
    "vit_base_patch16_siglip": Size(768, 12, 16),
    "vit_base_patch32_siglip": Size(768, 12, 32),
    "vit_large_patch16_siglip": Size(1024, 24, 16),
    "vit_so400m_patch14_siglip": Size(1152, 27, 14, 3.7362),
    "vit_so400m_patch16_siglip": Size(1152, 27, 16, 3.7362),
    "vit_giantopt_patch16_siglip": Size(1536, 40, 16),
    "vit_pe_core_tiny": Size(192, 12, 16),
    "vit_pe_core_small": Size(384, 12, 16),
    "vit_pe_core_base": Size(768, 12, 16),
    "vit_pe_core_large": Size(1024, 24, 14),
    "vit_pe_core_gigantic": Size(1536, 50, 14, 8960 / 1536),
    "eva_giant_patch14": Size(1408, 40, 14, 6144 / 1408),
    "eva02_base_patch16_clip": Size(768, 12, 16),
    "eva02_large_patch14_clip": Size(1024, 24, 14),
    "eva02_enormous_patch14_clip": Size(1792, 64, 14, 15360 / 1792),
    "vit_base_mci": Size(768, 12, 16),
    "vit_large_patch14_clip": Size(1024, 24, 14),
}


def timm_facts(model: str, settings_of_weights: dict[str, Any] | None = None) -> Facts:
    """Return the facts about an open_clip model with a ViT of timm, without building it.

    `settings_of_weights` is the `preprocess_cfg` beside the weights; without one, the family's values are returned.
    Raises ValueError if the model is unknown, or if its encoders are not supported.
    """
    settings = settings_of(model)
    refuse_unsupported(model, settings)
    vision, text = settings["vision_cfg"], settings["text_cfg"]
    text = {"layers": 12, "width": 512, "context_length": 77, "vocab_size": 49408, **text}
    size = size_of(vision["timm_model_name"])
    preprocess = with_settings(preprocess_of(model), settings_of_weights or {})
    assert size is not None
    tokens = (vision["image_size"] // size.patch_px) ** 2
    image_gflop = gflop(tokens, size.width, size.layers, size.mlp_ratio)
    if vision.get("timm_pool") == "map":  # keys and values of the pooling
        image_gflop += 4 * tokens * size.width**2 / 1e9
    text_sizes = (text["context_length"], text["width"], text["layers"])
    parameters = (4 + 2 * size.mlp_ratio) * size.width**2 * size.layers + 12 * text["width"] ** 2 * text["layers"]
    return Facts(
        vision["image_size"],
        size.layers,
        text["context_length"],
        image_gflop,
        gflop(*text_sizes, text.get("mlp_ratio", 4.0)),
        int(parameters) + text["vocab_size"] * text["width"],
        preprocess.interpolation,
        preprocess.resize_mode,
    )


def unsupported(settings: dict[str, Any]) -> str:
    """Return the part of a configuration of open_clip that TimmViT does not support, or ""."""
    vision, text = settings["vision_cfg"], settings["text_cfg"]
    name = vision.get("timm_model_name")
    if name is None:
        return "no image encoder of timm"
    if size_of(name) is None:
        return f"the image encoder {name} of timm"
    if "hf_model_name" in text:
        return f"the text encoder {text['hf_model_name']} of transformers"
    return ""


def refuse_unsupported(model: str, settings: dict[str, Any]) -> None:
    """Raise ValueError, with the nearest supported model, if TimmViT does not support a configuration."""
    if problem := unsupported(settings):
        raise ValueError(refusal(model, problem))


def size_of(timm_name: str) -> Size | None:
    """Return the size of an image encoder of timm, None if it is not supported."""
    return next((size for start, size in SIZES.items() if timm_name.startswith(start)), None)


def preprocess_of(model: str, tag: str | None = None) -> Preprocess:
    """Return the preprocessing with which the published weights of an open_clip model were trained."""
    name = f"{model} {tag}"
    return next((preprocess for pattern, preprocess in FAMILIES.items() if re.search(pattern, name, re.I)), OPENAI)


def with_settings(preprocess: Preprocess, settings: dict[str, Any]) -> Preprocess:
    """Return a preprocessing with the values of open_clip's `preprocess_cfg` that are set."""
    fields = {name: settings[name] for name in ("interpolation", "resize_mode") if settings.get(name)}
    fields |= {name: tuple(map(float, settings[name])) for name in ("mean", "std") if settings.get(name)}
    return replace(preprocess, **fields)
