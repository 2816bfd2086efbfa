"""Small models of open_clip with its own ViT: the variants of CLIPA, MetaCLIP 2 and CoCa, in 32 x 32 px."""

import json
import tempfile
from functools import cache
from pathlib import Path

import open_clip
import torch

from kinetext.backbones.open_clip_vit import Architecture, OpenClipViT

VISION = {"image_size": 32, "layers": 4, "width": 64, "head_width": 16, "patch_size": 8}
TEXT = {"context_length": 32, "vocab_size": 200, "width": 32, "heads": 4, "layers": 3}
BYTE_PAIRS = {**TEXT, "vocab_size": 49408}  # CLIP's tokenizer
CLIPA = {"no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True}
COCA = {"custom_text": True, "multimodal_cfg": {**BYTE_PAIRS, "layers": 1, "attn_pooler_heads": 2}}
HUB = {"hf_tokenizer_name": "kinetext/no-such-tokenizer"}
POOLED = {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}
CLASS_AFTER = {**BYTE_PAIRS, "embed_cls": True, "output_tokens": True}
VARIANTS = {  # name -> (image encoder, text encoder, the rest)
    "clipa": (CLIPA, {**HUB, "pool_type": "last", "no_causal_mask": True}, {}),
    "worldwide": ({}, {**HUB, "pool_type": "eos", "eos_id": 2}, {"quick_gelu": True}),
    "coca": (POOLED, CLASS_AFTER, COCA),
    "coca_class": ({"output_tokens": True}, CLASS_AFTER, COCA),
    "custom_text": ({}, {"proj_bias": True}, {"custom_text": True}),
    "layer_scale": ({"ls_init_value": 0.1, "mlp_ratio": 3.0}, {"ls_init_value": 0.1}, {}),
}
WIDTH, EMBED_DIM = 64, 32  # the joint space has the width of texts, and less than that of tokens, as in CoCa


@cache
def register() -> None:
    """Make the models known to open_clip as small-{variant}, once per process."""
    folder = Path(tempfile.mkdtemp(prefix="kinetext-small-native-"))
    for name, (vision, text, others) in VARIANTS.items():
        settings = {"embed_dim": EMBED_DIM, "vision_cfg": {**VISION, **vision}, "text_cfg": {**TEXT, **text}, **others}
        (folder / f"small-{name}.json").write_text(json.dumps(settings))
    open_clip.add_model_config(folder)


def small(name, seed=0, tokenizer=None) -> OpenClipViT:
    """A small model with random weights. No norm and no class token stays at its start."""
    register()
    torch.manual_seed(seed)
    backbone = OpenClipViT(Architecture(f"small-{name}", tokenizer=tokenizer)).eval()
    with torch.no_grad():
        for parameter in backbone.parameters():
            if parameter.ndim:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return backbone
