"""Write a model of open_clip as a folder in the layout of the Hugging Face hub, for open_clip and for transformers.

open_clip loads the folder as `local-dir:FOLDER`. If the model is an original CLIP, the folder also holds the files of
`transformers.CLIPModel` and `CLIPProcessor` (huggingface/transformers), whose weights have other names: queries, keys
and values are separate there, and projections are transposed.

V visual width, D joint width.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from kinetext.backbones.library import is_original_clip, open_clip, tokenizer_of
from kinetext.backbones.text_tokens import HubTokenizer, Tokenizer, write_tokenizer
from kinetext.backbones.values import Preprocess
from kinetext.core.files import atomic_write
from kinetext.core.tensors import save_tensors

WEIGHTS, CONFIG = "open_clip_model.safetensors", "open_clip_config.json"
BICUBIC, BILINEAR = 3, 2  # PIL's numbers
BLOCK_NAMES = {
    "ln_1": "layer_norm1",
    "attn.out_proj": "self_attn.out_proj",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
NAMES = {  # name in open_clip -> (name in transformers, whether the matrix is transposed)
    "logit_scale": ("logit_scale", False),
    "visual.class_embedding": ("vision_model.embeddings.class_embedding", False),
    "visual.conv1.weight": ("vision_model.embeddings.patch_embedding.weight", False),
    "visual.positional_embedding": ("vision_model.embeddings.position_embedding.weight", False),
    "visual.proj": ("visual_projection.weight", True),
    "token_embedding.weight": ("text_model.embeddings.token_embedding.weight", False),
    "positional_embedding": ("text_model.embeddings.position_embedding.weight", False),
    "text_projection": ("text_projection.weight", True),
}
NORMS = {  # the spelling is that of transformers
    "visual.ln_pre": "vision_model.pre_layrnorm",
    "visual.ln_post": "vision_model.post_layernorm",
    "ln_final": "text_model.final_layer_norm",
}
ENCODERS = {"visual.transformer": "vision_model.encoder", "transformer": "text_model.encoder"}


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
    save_tensors(dict(clip.state_dict()), folder / WEIGHTS, {"model": model})
    _write_json(folder / CONFIG, {"model_cfg": settings, "preprocess_cfg": preprocess_cfg})
    if isinstance(tokenizer, HubTokenizer):
        write_tokenizer(tokenizer, folder)
    if is_original_clip(clip):
        _write_for_transformers(clip, bool(settings.get("quick_gelu", False)), preprocess, tokenizer_of(model), folder)


def _write_for_transformers(clip: Any, quick_gelu: bool, preprocess: Preprocess, tokenizer: Any, folder: Path) -> None:
    tensors = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in transformers_tensors(clip.state_dict())
    }
    with atomic_write(folder / "model.safetensors") as part:
        save_file(tensors, part, {"format": "pt"})  # transformers asks for this entry
    _write_json(folder / "config.json", transformers_config(clip, quick_gelu))
    size = clip.visual.image_size[0]
    processing = {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "do_center_crop": preprocess.resize_mode == "shortest",
        "size": {"shortest_edge": size} if preprocess.resize_mode == "shortest" else {"height": size, "width": size},
        "crop_size": {"height": size, "width": size},
        "resample": BICUBIC if preprocess.interpolation == "bicubic" else BILINEAR,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(preprocess.mean),
        "image_std": list(preprocess.std),
    }
    _write_json(folder / "preprocessor_config.json", processing)
    _write_tokenizer(tokenizer, int(clip.context_length), folder)


def _write_tokenizer(tokenizer: Any, context_length: int, folder: Path) -> None:
    end = "<|endoftext|>"
    words = {word.replace("<start_of_text>", "<|startoftext|>"): i for word, i in tokenizer.encoder.items()}
    words = {word.replace("<end_of_text>", end): i for word, i in words.items()}
    _write_json(folder / "vocab.json", words)
    merges = sorted(tokenizer.bpe_ranks, key=tokenizer.bpe_ranks.__getitem__)
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges)]) + "\n")
    names = {"bos_token": "<|startoftext|>", "eos_token": end, "unk_token": end, "pad_token": end}
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": context_length, "do_lower_case": True}
    _write_json(folder / "tokenizer_config.json", settings | names)


def transformers_tensors(tensors: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield (name, tensor) of `transformers.CLIPModel` from the state dict of an original CLIP of open_clip."""
    for source, (target, transposed) in NAMES.items():
        yield target, tensors[source].T if transposed else tensors[source]
    for source, target in NORMS.items():
        for kind in ("weight", "bias"):
            yield f"{target}.{kind}", tensors[f"{source}.{kind}"]
    for source, target in ENCODERS.items():
        prefix = f"{source}.resblocks."
        numbers = {int(name[len(prefix) :].split(".")[0]) for name in tensors if name.startswith(prefix)}
        for i in sorted(numbers):
            yield from _block(tensors, f"{prefix}{i}", f"{target}.layers.{i}")


def _block(tensors: dict[str, Tensor], source: str, target: str) -> Iterator[tuple[str, Tensor]]:
    for kind in ("weight", "bias"):
        thirds = tensors[f"{source}.attn.in_proj_{kind}"].chunk(3)
        for name, third in zip("qkv", thirds, strict=True):
            yield f"{target}.self_attn.{name}_proj.{kind}", third
        for name, other in BLOCK_NAMES.items():
            yield f"{target}.{other}.{kind}", tensors[f"{source}.{name}.{kind}"]


def transformers_config(clip: Any, quick_gelu: bool) -> dict[str, Any]:
    """Return the content of config.json for `transformers.CLIPModel`."""
    visual, start, end = clip.visual, *_special_tokens(clip)
    shared = {"hidden_act": "quick_gelu" if quick_gelu else "gelu", "layer_norm_eps": 1e-5}
    shared |= {"projection_dim": int(visual.proj.shape[1])}
    text = {
        "vocab_size": int(clip.vocab_size),
        "max_position_embeddings": int(clip.context_length),
        "bos_token_id": start,
        "eos_token_id": end,  # transformers takes the feature of the first token with this id
        "pad_token_id": end,
    }
    vision = {"image_size": int(visual.image_size[0]), "patch_size": int(visual.patch_size[0])}
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": shared["projection_dim"],
        "logit_scale_init_value": float(clip.logit_scale.detach()),
        "text_config": {"model_type": "clip_text_model", **text, **_sizes(clip.transformer), **shared},
        "vision_config": {"model_type": "clip_vision_model", **vision, **_sizes(visual.transformer), **shared},
    }


def _special_tokens(clip: Any) -> tuple[int, int]:
    return int(clip.vocab_size) - 2, int(clip.vocab_size) - 1  # of CLIP's tokenizer: start and end are its last ids


def _sizes(transformer: Any) -> dict[str, int]:
    block = transformer.resblocks[0]
    return {
        "hidden_size": int(transformer.width),
        "intermediate_size": int(block.mlp.c_fc.out_features),
        "num_hidden_layers": len(transformer.resblocks),
        "num_attention_heads": int(block.attn.num_heads),
    }


def _write_json(path: Path, content: Any) -> None:
    with atomic_write(path) as part:
        part.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
