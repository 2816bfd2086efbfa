"""Facts about open_clip's models with its own ViT, without building them: sizes and unsupported parts.

open_clip builds CLIP, CLIPA, MetaCLIP 2 (`worldwide`) and CoCa from the same image encoder and text encoder. They
differ in the pooling of both.
"""

from typing import Any

from kinetext.backbones.catalogue import gflop, refusal, settings_of
from kinetext.backbones.timm_models import preprocess_of, with_settings
from kinetext.backbones.values import Facts

TEXT_POOLS = ("argmax", "eos", "last")  # the end token (as the largest id, or by its id), the last position
ODD_LAYERS = (
    "block_type",
    "qk_norm",
    "scaled_cosine_attn",
    "scale_heads",
    "scale_attn_inner",
    "scale_attn",
    "scale_fc",
)


def unsupported(settings: dict[str, Any]) -> str:
    """Return the part of a configuration of open_clip that OpenClipViT does not support, or ""."""
    vision, text = settings["vision_cfg"], settings["text_cfg"]
    if "timm_model_name" in vision:
        return f"the image encoder {vision['timm_model_name']} of timm"
    if not isinstance(vision.get("layers", 12), int):
        return "a ResNet as image encoder"
    if "hf_model_name" in text:
        return f"the text encoder {text['hf_model_name']} of transformers"
    if any(part.get(option) for part in (vision, text) for option in ODD_LAYERS):
        return "layers that are not CLIP's"
    if vision.get("pool_type", "tok") not in ("tok", "avg") or isinstance(vision.get("attentional_pool"), str):
        return "an image encoder without pooling"
    if vision.get("pool_type") == "avg" and (vision.get("attentional_pool") or not vision.get("final_ln_after_pool")):
        return "an image encoder that averages normalised tokens"
    if text.get("pool_type", "argmax") not in TEXT_POOLS or text.get("use_pad_mask"):
        return f"a text encoder that pools '{text.get('pool_type', 'argmax')}' or masks padding"
    return ""


def refuse_unsupported(model: str, settings: dict[str, Any]) -> None:
    """Raise ValueError, with the nearest supported model, if OpenClipViT does not support a configuration."""
    if problem := unsupported(settings):
        raise ValueError(refusal(model, problem))


def facts_of(model: str, tag: str | None = None, settings_of_weights: dict[str, Any] | None = None) -> Facts:
    """Return image size, number of layers, context length, cost and preprocessing of a model of open_clip.

    `settings_of_weights` is the `preprocess_cfg` beside the weights. Raises ValueError if the model is unknown or
    not supported.
    """
    settings = settings_of(model)
    refuse_unsupported(model, settings)
    vision = {"layers": 12, "image_size": 224, **settings["vision_cfg"]}
    text = {"layers": 12, "width": 512, "context_length": 77, "vocab_size": 49408, **settings["text_cfg"]}
    preprocess = with_settings(preprocess_of(model, tag), settings_of_weights or {})
    tokens = (vision["image_size"] // vision.get("patch_size", 16)) ** 2 + 1
    encoders = (
        (tokens, vision.get("width", 768), vision["layers"]),
        (text["context_length"], text["width"], text["layers"]),
    )
    ratios = vision.get("mlp_ratio", 4.0), text.get("mlp_ratio", 4.0)
    costs = (gflop(*encoder, ratio) for encoder, ratio in zip(encoders, ratios, strict=True))
    image_gflop, text_gflop = costs
    layers = ((4 + 2 * ratio) * width**2 * n for (_, width, n), ratio in zip(encoders, ratios, strict=True))
    return Facts(
        vision["image_size"],
        vision["layers"],
        int(text["context_length"]),
        image_gflop,
        text_gflop,
        int(sum(layers)) + text["vocab_size"] * text["width"],
        preprocess.interpolation,
        preprocess.resize_mode,
    )
