"""Write a model of open_clip as a folder in the layout of the Hugging Face hub, for open_clip and for transformers.

open_clip loads the folder as `local-dir:FOLDER`. If the model is an original CLIP or a SigLIP, the folder also has the
files of `transformers.CLIPModel` or `SiglipModel` and of their processors (huggingface/transformers).
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from kinetext.backbones.hub_clip import as_json, clip_config, clip_tensors, clip_tokenizer_files
from kinetext.backbones.hub_siglip import is_siglip, siglip_config, siglip_tensors, siglip_tokenizer_files
from kinetext.backbones.library import is_original_clip, open_clip, tokenizer_of
from kinetext.backbones.text_tokens import HubTokenizer, Tokenizer, tokenizer_files
from kinetext.backbones.values import Preprocess
from kinetext.core.files import atomic_write
from kinetext.core.tensors import save_tensors

WEIGHTS, CONFIG = "open_clip_model.safetensors", "open_clip_config.json"
BICUBIC, BILINEAR = 3, 2  # PIL's constants


def write_hub_folder(
    clip: Any, model: str, quick_gelu: bool, preprocess: Preprocess, folder: Path, tokenizer: Tokenizer | None
) -> None:
    """Write the weights and the configuration of an open_clip model to `folder`, with its hub tokenizer if it has one.

    `model` is open_clip's name of the architecture. `quick_gelu` states that the weights need OpenAI's GELU although
    the architecture does not name it.
    """
    settings = open_clip().get_model_config(model)
    settings |= {"quick_gelu": True} if quick_gelu else {}
    preprocess_cfg = {
        "mean": list(preprocess.mean),
        "std": list(preprocess.std),
        "interpolation": preprocess.interpolation,
        "resize_mode": preprocess.resize_mode,
    }
    state = clip.state_dict()
    save_tensors(dict(state), folder / WEIGHTS, {"model": model})
    files = {CONFIG: as_json({"model_cfg": settings, "preprocess_cfg": preprocess_cfg})}
    if isinstance(tokenizer, HubTokenizer):
        files |= tokenizer_files(tokenizer)
    if is_original_clip(clip):
        _save_for_transformers(dict(clip_tensors(state)), folder)
        config = clip_config(clip, bool(settings.get("quick_gelu", False)))
        files |= _configurations(config, int(clip.visual.image_size[0]), preprocess)
        files |= clip_tokenizer_files(tokenizer_of(model), int(clip.context_length))
    elif is_siglip(clip):
        _save_for_transformers(dict(siglip_tensors(state)), folder)
        config = siglip_config(clip, None if tokenizer is None else tokenizer.pad)
        files |= _configurations(config, int(clip.visual.image_size[0]), preprocess)
        if isinstance(tokenizer, HubTokenizer):
            files |= siglip_tokenizer_files(tokenizer, int(clip.context_length))
    for name, text in files.items():
        with atomic_write(folder / name) as part:
            part.write_text(text, encoding="utf-8")


def _save_for_transformers(tensors: dict[str, Tensor], folder: Path) -> None:
    tensors = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    with atomic_write(folder / "model.safetensors") as part:
        save_file(tensors, part, {"format": "pt"})  # transformers requires this entry


def _configurations(config: dict[str, Any], size: int, preprocess: Preprocess) -> dict[str, str]:
    """Return the files that configure the model and the image processor of transformers. `size` is in pixels."""
    family = config["architectures"][0].removesuffix("Model")
    shortest = preprocess.resize_mode == "shortest"
    processing = {
        "image_processor_type": f"{family}ImageProcessor",
        "processor_class": f"{family}Processor",
        "do_convert_rgb": True,
        "do_resize": True,
        "do_center_crop": shortest,
        "size": {"shortest_edge": size} if shortest else {"height": size, "width": size},
        "crop_size": {"height": size, "width": size},
        "resample": BICUBIC if preprocess.interpolation == "bicubic" else BILINEAR,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(preprocess.mean),
        "image_std": list(preprocess.std),
    }
    return {"config.json": as_json(config), "preprocessor_config.json": as_json(processing)}
