"""Convert a SigLIP of open_clip to the layout of `transformers.SiglipModel` (huggingface/transformers).

`SiglipModel` is also the class of SigLIP 2 with a fixed resolution. Queries, keys and values are separate there, except
in the attention pooling, where timm has separate queries and transformers has one matrix for all three.
"""

import json
import re
import string
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinetext.backbones.hub_clip import as_json
from kinetext.backbones.text_tokens import FILE, SETTINGS, HubTokenizer

KINDS = ("weight", "bias")
POOL = "visual.trunk.attn_pool"
TENSORS = {  # name in open_clip -> in transformers
    f"{POOL}.latent": "vision_model.head.probe",
    "text.token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "text.positional_embedding": "text_model.embeddings.position_embedding.weight",
}
MODULES = {
    "visual.trunk.patch_embed.proj": "vision_model.embeddings.patch_embedding",
    "visual.trunk.norm": "vision_model.post_layernorm",
    f"{POOL}.norm": "vision_model.head.layernorm",
    f"{POOL}.mlp.fc1": "vision_model.head.mlp.fc1",
    f"{POOL}.mlp.fc2": "vision_model.head.mlp.fc2",
    f"{POOL}.proj": "vision_model.head.attention.out_proj",
    "text.ln_final": "text_model.final_layer_norm",
    "text.text_projection": "text_model.head",
}
IMAGE_BLOCK = {
    "norm1": "layer_norm1",
    "attn.proj": "self_attn.out_proj",
    "norm2": "layer_norm2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
TEXT_BLOCK = {
    "ln_1": "layer_norm1",
    "attn.out_proj": "self_attn.out_proj",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
ENCODERS = (  # layers in open_clip, in transformers, queries, keys and values in open_clip, other modules
    ("visual.trunk.blocks", "vision_model.encoder.layers", "attn.qkv.", IMAGE_BLOCK),
    ("text.transformer.resblocks", "text_model.encoder.layers", "attn.in_proj_", TEXT_BLOCK),
)
ACTIVATIONS = {"none": "gelu", "tanh": "gelu_pytorch_tanh"}  # PyTorch's approximation -> name in transformers
SPACES = (
    {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
    {"type": "Strip", "strip_left": True, "strip_right": True},
)
CLEANING = {  # open_clip's cleaning of texts -> the same as steps of tokenizer.json
    "whitespace": SPACES,
    "lower": ({"type": "Lowercase"}, *SPACES),
    "canonicalize": (
        {"type": "Replace", "pattern": {"String": "_"}, "content": " "},
        {"type": "Replace", "pattern": {"Regex": f"[{re.escape(string.punctuation)}]"}, "content": ""},
        {"type": "Lowercase"},
        *SPACES,
    ),
}


def siglip_tensors(tensors: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield (name, tensor) of `transformers.SiglipModel` from the state dict of a SigLIP of open_clip.

    Raises KeyError if a tensor is missing.
    """
    for name in ("logit_scale", "logit_bias"):
        yield name, tensors[name].reshape(1)
    yield "vision_model.embeddings.position_embedding.weight", tensors["visual.trunk.pos_embed"][0]
    for source, target in TENSORS.items():
        yield target, tensors[source]
    for kind in KINDS:
        parts = [tensors[f"{POOL}.{name}.{kind}"] for name in ("q", "kv")]
        yield f"vision_model.head.attention.in_proj_{kind}", torch.cat(parts)
        for source, target in MODULES.items():
            yield f"{target}.{kind}", tensors[f"{source}.{kind}"]
    for source, target, qkv, modules in ENCODERS:
        numbers = {int(name[len(source) + 1 :].split(".")[0]) for name in tensors if name.startswith(f"{source}.")}
        for i in sorted(numbers):
            yield from _block(tensors, f"{source}.{i}.", f"{target}.{i}.", qkv, modules)


def _block(
    tensors: dict[str, Tensor], source: str, target: str, qkv: str, modules: dict[str, str]
) -> Iterator[tuple[str, Tensor]]:
    for kind in KINDS:
        for name, third in zip("qkv", tensors[f"{source}{qkv}{kind}"].chunk(3), strict=True):
            yield f"{target}self_attn.{name}_proj.{kind}", third
        for ours, theirs in modules.items():
            yield f"{target}{theirs}.{kind}", tensors[f"{source}{ours}.{kind}"]


def is_siglip(clip: Any) -> bool:
    """Return whether `transformers.SiglipModel` computes the features of an open_clip model.

    Both encoders must have only the tensors that are renamed, and each encoder one activation and one epsilon.
    """
    trunk: Any = getattr(clip.visual, "trunk", None)
    text: Any = getattr(clip, "text", None)
    if type(trunk).__name__ != "VisionTransformer" or trunk.global_pool != "map" or clip.logit_bias is None:
        return False
    if getattr(text, "pool_type", None) != "last" or text.attn_mask is not None or text.use_pad_mask:
        return False
    state = clip.state_dict()
    try:
        renamed = dict(siglip_tensors(state))
    except KeyError:
        return False
    if sum(tensor.numel() for tensor in renamed.values()) != sum(tensor.numel() for tensor in state.values()):
        return False  # more tensors than `SiglipModel` has
    pool, block = trunk.attn_pool, trunk.blocks[0]
    return (
        type(block).__name__ == "Block"
        and (pool.latent_len, pool.num_heads) == (1, block.attn.num_heads)
        and all(len(_epsilons(encoder)) == 1 and len(_activations(encoder)) == 1 for encoder in (trunk, text))
        and None not in _activations(trunk) | _activations(text)
    )


def siglip_config(clip: Any, pad_token_id: int | None) -> dict[str, Any]:
    """Return the content of config.json for `transformers.SiglipModel`."""
    trunk, text = clip.visual.trunk, clip.text
    block, layer = trunk.blocks[0], text.transformer.resblocks[0]
    vision = {
        "model_type": "siglip_vision_model",
        "image_size": int(clip.visual.image_size[0]),
        "patch_size": int(trunk.patch_embed.patch_size[0]),
        "hidden_size": int(trunk.embed_dim),
        "intermediate_size": int(block.mlp.fc1.out_features),
        "num_hidden_layers": len(trunk.blocks),
        "num_attention_heads": int(block.attn.num_heads),
    }
    words = {
        "model_type": "siglip_text_model",
        "vocab_size": int(text.vocab_size),
        "max_position_embeddings": int(text.context_length),
        "hidden_size": int(text.transformer.width),
        "intermediate_size": int(layer.mlp.c_fc.out_features),
        "num_hidden_layers": len(text.transformer.resblocks),
        "num_attention_heads": int(layer.attn.num_heads),
        "projection_size": int(text.text_projection.out_features),
        "pad_token_id": pad_token_id,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    for settings, encoder in ((vision, trunk), (words, text)):
        (activation,), (epsilon,) = _activations(encoder), _epsilons(encoder)
        settings |= {"hidden_act": activation, "layer_norm_eps": epsilon}
    return {"architectures": ["SiglipModel"], "model_type": "siglip", "text_config": words, "vision_config": vision}


def _epsilons(encoder: nn.Module) -> set[float]:
    return {module.eps for module in encoder.modules() if isinstance(module, nn.LayerNorm)}


def _activations(encoder: nn.Module) -> set[str | None]:
    """Return transformers' names of the activations of an encoder, None for one that it does not have."""
    names = ("act", "gelu")  # in the MLPs of timm and open_clip
    return {_activation(module) for name, module in encoder.named_modules() if name.rpartition(".")[2] in names}


def _activation(module: nn.Module) -> str | None:
    x = torch.linspace(-3, 3, 13)
    y = module(x.clone())
    return next(
        (name for how, name in ACTIVATIONS.items() if torch.allclose(y, F.gelu(x, approximate=how), 0, 1e-6)), None
    )


def siglip_tokenizer_files(tokenizer: HubTokenizer, context_length: int) -> dict[str, str]:
    """Return the content of the tokenizer's files by name, for `transformers.SiglipProcessor`.

    open_clip cleans texts before tokenization; here, the tokenizer does. transformers passes no padding mask to the
    model, because SigLIP was trained without one. A length in tokenizer.json would take precedence over
    `model_max_length`.
    """
    content = json.loads(tokenizer.content) | {"truncation": None, "padding": None}
    steps, present = list(CLEANING[tokenizer.clean]), _steps(content.get("normalizer"))
    if present[: len(steps)] != steps:
        content["normalizer"] = {"type": "Sequence", "normalizers": [*steps, *present]}
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "processor_class": "SiglipProcessor",
        "pad_token": tokenizer.pad_token,
        "model_max_length": context_length,
        "model_input_names": ["input_ids"],
    }
    return {FILE: json.dumps(content, ensure_ascii=False), SETTINGS: as_json(settings)}


def _steps(normalizer: dict[str, Any] | None) -> list[dict[str, Any]]:
    if normalizer is None:
        return []
    return normalizer["normalizers"] if normalizer["type"] == "Sequence" else [normalizer]
