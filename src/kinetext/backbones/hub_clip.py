"""Convert an original CLIP of open_clip to the layout of `transformers.CLIPModel` (huggingface/transformers).

Queries, keys and values are separate there, and projections are transposed.
"""

import json
from collections.abc import Iterator
from typing import Any

from torch import Tensor

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


def clip_tensors(tensors: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
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


def clip_config(clip: Any, quick_gelu: bool) -> dict[str, Any]:
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


def clip_tokenizer_files(tokenizer: Any, context_length: int) -> dict[str, str]:
    """Return the content of the files of `transformers.CLIPTokenizer` by name, from open_clip's tokenizer."""
    end = "<|endoftext|>"
    words = {word.replace("<start_of_text>", "<|startoftext|>"): i for word, i in tokenizer.encoder.items()}
    words = {word.replace("<end_of_text>", end): i for word, i in words.items()}
    merges = sorted(tokenizer.bpe_ranks, key=tokenizer.bpe_ranks.__getitem__)
    names = {"bos_token": "<|startoftext|>", "eos_token": end, "unk_token": end, "pad_token": end}
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": context_length, "do_lower_case": True}
    return {
        "vocab.json": as_json(words),
        "merges.txt": "\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges)]) + "\n",
        "tokenizer_config.json": as_json(settings | names),
    }


def as_json(content: Any) -> str:
    """Return the text of a JSON file."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
