"""Small models of open_clip with a ViT of timm: the geometry of SigLIP, PE-Core, EVA-02 and MobileCLIP, in 32 x 32 px.

Importing this module imports timm (seconds) and registers the models with timm, open_clip and the table of sizes.
"""

import json
import tempfile
import zlib
from functools import cache, partial
from pathlib import Path

import torch
from safetensors.torch import save_file

from kinetext.backbones import catalogue, timm_models
from kinetext.backbones.library import open_clip, open_clip_with_timm
from kinetext.backbones.text_tokens import ClipTokenizer
from kinetext.backbones.timm_vit import TimmViT

open_clip_with_timm()

import timm  # noqa: E402
from timm.layers import HybridEmbed, LayerNorm  # noqa: E402
from timm.models.eva import Eva  # noqa: E402
from timm.models.vision_transformer import VisionTransformer  # noqa: E402
from timm.models.vision_transformer_hybrid import ConvStem  # noqa: E402

PX, PATCH, WIDTH, HEADS, DEPTH = 32, 8, 64, 4, 4
COMMON = {"img_size": PX, "patch_size": PATCH, "embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS}
ROPE = {"use_rot_pos_emb": True, "ref_feat_shape": (2, 2)}
PE = {
    **ROPE,
    "attn_type": "rope",
    "use_pre_transformer_norm": True,
    "rope_grid_offset": 1.0,
    "rope_grid_indexing": "xy",
    "attn_pool_num_heads": 8,
    "attn_pool_mlp_ratio": 4.0,
    "norm_layer": partial(LayerNorm, eps=1e-5),
}
EVA02 = {**ROPE, "qkv_fused": False, "mlp_ratio": 4 * 2 / 3, "swiglu_mlp": True, "scale_mlp": True}


def mobileclip_b(**arguments):
    """MobileCLIP-B's ViT: its patches come from three convolutions with batch norms."""
    sizes = {"channels": (WIDTH // 4, WIDTH // 4, WIDTH), "stride": (2, 2, 2), "kernel_size": (2, 2, 2)}
    stem = ConvStem(**sizes, padding=0, act_layer=torch.nn.GELU)
    embed = partial(HybridEmbed, backbone=stem, proj=False)
    return VisionTransformer(**{**arguments, "patch_size": 1}, no_embed_class=True, embed_layer=embed)


TRUNKS = {  # name -> (class, arguments): as timm's own entry points, but small
    "siglip": (VisionTransformer, {"class_token": False}),
    "siglip2": (VisionTransformer, {"class_token": False, "act_layer": "gelu_tanh"}),
    "pe": (Eva, PE),
    "pe_without_class": (Eva, {**PE, "class_token": False}),
    "eva02": (Eva, {**EVA02, "scale_attn_inner": True}),
    "eva01": (Eva, {"init_values": 0.1}),
    "eva_norm_after": (Eva, {"use_post_norm": True}),
    "mobileclip_b": (mobileclip_b, {}),
    "registers": (VisionTransformer, {"reg_tokens": 3, "init_values": 0.1, "pre_norm": True}),
}
SIGLIPS = ("siglip", "siglip2")
MAPS = (*SIGLIPS, "pe", "pe_without_class")
SIGLIP_TEXT = {
    "context_length": 64,
    "vocab_size": 200,
    "hf_tokenizer_name": "kinetext/no-such-tokenizer",
    "tokenizer_kwargs": {"clean": "canonicalize"},
    "no_causal_mask": True,
    "proj_bias": True,
    "pool_type": "last",
    "norm_kwargs": {"eps": 1e-6},
}
SIGLIP2_TEXT = SIGLIP_TEXT | {"act_kwargs": {"approximate": "tanh"}}
NAMES = {name: f"kinetext-test-{name}" for name in TRUNKS}


class WordTokenizer:
    """A tokenizer without a file: a token is a hash of a word's letters; 199 ends a text."""

    pad = 1

    def ids(self, text):
        return [*(2 + zlib.crc32(word.encode()) % 190 for word in text.split()), 199]


@cache
def register() -> None:
    """Make the models known to timm, open_clip and kinetext, once per process."""
    folder = Path(tempfile.mkdtemp(prefix="kinetext-small-timm-"))
    for name in TRUNKS:
        timm.models.register_model(_entry_point(name))
        timm_models.SIZES[f"kinetext_test_{name}"] = timm_models.Size(WIDTH, DEPTH, PATCH)
        text = {"context_length": 32, "width": 64, "heads": 4, "layers": 3} | {
            "siglip": SIGLIP_TEXT,
            "siglip2": SIGLIP2_TEXT,
        }.get(name, {})
        pool = {"timm_pool": "map" if name in MAPS else "token", "timm_proj": "none" if name in SIGLIPS else None}
        vision = {"image_size": PX, "timm_model_name": f"kinetext_test_{name}", **pool}
        settings = {"embed_dim": 64, "custom_text": True, "vision_cfg": vision, "text_cfg": text}
        settings |= {"init_logit_bias": -10} if name in SIGLIPS else {}
        file = folder / f"{NAMES[name]}.json"
        file.write_text(json.dumps(settings))
        catalogue.model_files()[NAMES[name]] = file
    open_clip().add_model_config(folder)


def _entry_point(name):
    def create(pretrained=False, **options):
        kind, arguments = TRUNKS[name]
        return kind(**COMMON, **arguments, **{key: options[key] for key in ("num_classes", "global_pool")})

    create.__name__ = f"kinetext_test_{name}"
    create.__module__ = __name__
    globals()[create.__name__] = create
    return create


def small(name, seed=0) -> TimmViT:
    """A small model with random weights. No bias, norm, layer scale or batch statistic stays at its start."""
    register()
    torch.manual_seed(seed)
    tokenizer = WordTokenizer() if name in SIGLIPS else ClipTokenizer(NAMES[name])
    backbone = TimmViT(NAMES[name], tokenizer=tokenizer).eval()
    with torch.no_grad():
        for parameter in backbone.parameters():
            if parameter.ndim:
                parameter.add_(0.05 * torch.randn_like(parameter))
        for module in backbone.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 1.5)
    return backbone


def small_options(name, folder) -> dict:
    """Options for `prepare`: the name of the model and a file with random weights."""
    tensors = {key: tensor.contiguous() for key, tensor in small(name).clip.state_dict().items()}
    save_file(tensors, folder / "open_clip_model.safetensors")
    return {"model": NAMES[name], "weights": str(folder / "open_clip_model.safetensors")}


def assert_equal_features(ours, theirs) -> None:
    """Equal up to rounding, relative to the largest feature: 1e-10 in float64, 1e-5 in float32."""
    size = theirs.abs().max()
    atol = 1e-10 if theirs.dtype == torch.float64 else 1e-5
    torch.testing.assert_close(ours / size, theirs / size, rtol=0, atol=atol)


@torch.inference_mode()
def assert_encodes_as_open_clip(model) -> None:
    """A model by its real name, with random weights, has the image features of open_clip."""
    torch.manual_seed(0)
    backbone = TimmViT(model).eval()
    px = backbone.image_size_px
    frames_BTCHW = torch.randn(1, 1, 3, px, px)
    assert_equal_features(backbone.encode_frames(frames_BTCHW)[0], backbone.clip.encode_image(frames_BTCHW[0]))
