"""SigLIP equals `transformers.SiglipModel`, also the class of SigLIP 2's fixed resolutions, with the same random weights."""

import pytest
import torch

from kinetext.backbones.base import TextTokens

HEADS, DEPTH = 4, {"vision": 4, "text": 3}  # of small_timm
ACTIVATIONS = {"siglip": "gelu", "siglip2": "gelu_pytorch_tanh"}  # of the image encoder; texts always take the second
BLOCKS = {"vision": "visual.trunk.blocks", "text": "text.transformer.resblocks"}
PARTS = {  # part of a layer in transformers -> (of timm's ViT, of open_clip's text encoder)
    "layer_norm1": ("norm1", "ln_1"),
    "layer_norm2": ("norm2", "ln_2"),
    "self_attn.out_proj": ("attn.proj", "attn.out_proj"),
    "mlp.fc1": ("mlp.fc1", "mlp.c_fc"),
    "mlp.fc2": ("mlp.fc2", "mlp.c_proj"),
}
MODULES = {  # module in transformers -> in open_clip
    "vision_model.embeddings.patch_embedding": "visual.trunk.patch_embed.proj",
    "vision_model.post_layernorm": "visual.trunk.norm",
    "vision_model.head.layernorm": "visual.trunk.attn_pool.norm",
    "vision_model.head.mlp.fc1": "visual.trunk.attn_pool.mlp.fc1",
    "vision_model.head.mlp.fc2": "visual.trunk.attn_pool.mlp.fc2",
    "vision_model.head.attention.out_proj": "visual.trunk.attn_pool.proj",
    "text_model.final_layer_norm": "text.ln_final",
    "text_model.head": "text.text_projection",
}


def renamed(state):
    """The tensors of `SiglipModel` from those of open_clip."""
    pool = "visual.trunk.attn_pool"
    tensors = {
        "logit_scale": state["logit_scale"].reshape(1),
        "logit_bias": state["logit_bias"].reshape(1),
        "vision_model.embeddings.position_embedding.weight": state["visual.trunk.pos_embed"][0],
        "vision_model.head.probe": state[f"{pool}.latent"],
        "text_model.embeddings.token_embedding.weight": state["text.token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": state["text.positional_embedding"],
    }
    for kind in ("weight", "bias"):
        tensors |= {f"{theirs}.{kind}": state[f"{ours}.{kind}"] for theirs, ours in MODULES.items()}
        both = torch.cat([state[f"{pool}.q.{kind}"], state[f"{pool}.kv.{kind}"]])
        tensors[f"vision_model.head.attention.in_proj_{kind}"] = both
        for side, depth in DEPTH.items():
            for i in range(depth):
                theirs, ours = f"{side}_model.encoder.layers.{i}", f"{BLOCKS[side]}.{i}"
                fused = state[f"{ours}.attn.qkv.{kind}" if side == "vision" else f"{ours}.attn.in_proj_{kind}"]
                for name, third in zip("qkv", fused.chunk(3), strict=True):
                    tensors[f"{theirs}.self_attn.{name}_proj.{kind}"] = third
                for part, names in PARTS.items():
                    tensors[f"{theirs}.{part}.{kind}"] = state[f"{ours}.{names[side == 'text']}.{kind}"]
    return tensors


def siglip_model(transformers, backbone, activation):
    """`SiglipModel` with the sizes and the weights of a backbone."""
    sizes = {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": HEADS, "layer_norm_eps": 1e-6}
    vision = {
        "num_hidden_layers": DEPTH["vision"],
        "image_size": backbone.image_size_px,
        "patch_size": 8,
        "hidden_act": activation,
    }
    text = {"num_hidden_layers": DEPTH["text"], "max_position_embeddings": backbone.context_length, "vocab_size": 200}
    text |= {"projection_size": backbone.embed_dim, "hidden_act": "gelu_pytorch_tanh"}
    config = transformers.SiglipConfig(vision_config={**sizes, **vision}, text_config={**sizes, **text})
    model = transformers.SiglipModel(config)
    model.load_state_dict(renamed(backbone.clip.state_dict()))
    return model.to(next(backbone.parameters()).dtype).eval()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_features_and_scores_are_those_of_siglip_model(name, dtype):
    transformers = pytest.importorskip("transformers", reason="transformers: not installed (the extra `video`)")
    import small_timm

    backbone = small_timm.small(name).to(dtype)
    theirs = siglip_model(transformers, backbone, ACTIVATIONS[name])
    frames_BTCHW = torch.randn(1, 3, 3, 32, 32, dtype=dtype)
    mask_KL = torch.arange(backbone.context_length) < torch.tensor([[3], [9]])
    ids_KL = torch.where(mask_KL, torch.randint(2, 200, mask_KL.shape), 1)  # padding is seen
    with torch.inference_mode():
        expected = theirs(pixel_values=frames_BTCHW[0], input_ids=ids_KL)
        image_FD = backbone.encode_frames(frames_BTCHW)[0]
        text_KD = backbone.encode_text(TextTokens(ids_KL, mask_KL))[0]
        small_timm.assert_equal_features(image_FD, expected.vision_model_output.pooler_output)
        small_timm.assert_equal_features(text_KD, expected.text_model_output.pooler_output)
        unit_FD, unit_KD = (x / x.norm(dim=-1, keepdim=True) for x in (image_FD, text_KD))
        small_timm.assert_equal_features(backbone.logits(unit_FD @ unit_KD.T), expected.logits_per_image)
