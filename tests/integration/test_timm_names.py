"""Models with a ViT of timm by their real names: features as open_clip's, and the sizes that are known without timm."""

import json

import pytest

from kinetext.backbones.catalogue import model_files
from kinetext.backbones.hub_siglip import is_siglip
from kinetext.backbones.library import open_clip_with_timm
from kinetext.backbones.timm_models import SIZES, preprocess_of, size_of, timm_facts
from kinetext.config.backbone import BackboneOptions
from small_timm import assert_encodes_as_open_clip, open_clip

ALL = {name: json.loads(file.read_text()) for name, file in sorted(model_files().items())}
SUPPORTED = [
    name
    for name, settings in ALL.items()
    if size_of(settings["vision_cfg"].get("timm_model_name", "")) and "hf_model_name" not in settings["text_cfg"]
]


@pytest.mark.parametrize("model", ["ViT-B-16-SigLIP", "EVA02-B-16", "MobileCLIP-B"])
def test_models_by_their_real_names_encode_as_open_clip(model):
    assert_encodes_as_open_clip(model)


def test_sizes_that_are_known_without_timm_are_those_of_timm():
    """On the meta device, where a model of 2 B parameters takes no memory."""
    import timm
    import torch

    names = {ALL[model]["vision_cfg"]["timm_model_name"] for model in SUPPORTED}
    for name in sorted(names):
        with torch.device("meta"):
            trunk = timm.create_model(name, num_classes=0)
        size = size_of(name)
        grid = trunk.patch_embed.grid_size[0]
        assert (trunk.embed_dim, len(trunk.blocks)) == (size.width, size.layers), name
        assert trunk.patch_embed.img_size[0] // size.patch_px == grid, name
        matrices = [p.numel() for n, p in trunk.blocks[0].mlp.named_parameters() if p.ndim == 2]
        assert sum(matrices) == pytest.approx(2 * size.mlp_ratio * size.width**2, rel=2e-3), name
    assert all(any(name.startswith(start) for name in names) for start in SIZES if "kinetext" not in start)


def test_the_preprocessing_of_a_family_is_that_of_its_published_weights():
    for model in SUPPORTED:
        facts = timm_facts(model)
        for tag in open_clip().list_pretrained_tags_by_model(model):
            settings = open_clip().get_pretrained_cfg(model, tag)
            preprocess = preprocess_of(model)
            for name in ("mean", "std", "interpolation", "resize_mode"):
                assert getattr(preprocess, name) == settings[name], (model, tag, name)
            assert (facts.interpolation, facts.resize_mode) == (preprocess.interpolation, preprocess.resize_mode)


def test_the_plugin_follows_from_the_name_of_the_model():
    for model in SUPPORTED:
        assert BackboneOptions(model=model).family == "timm_vit", model
    native = [name for name, settings in ALL.items() if "timm_model_name" not in settings["vision_cfg"]]
    assert {BackboneOptions(model=name).family for name in native if name != "kinetext-tiny"} == {"open_clip_vit"}


def test_every_siglip_with_a_text_projection_is_exported_for_transformers():
    """On the meta device, as above."""
    import torch

    for model in (name for name in SUPPORTED if "SigLIP" in name):
        with torch.device("meta"):
            clip = open_clip_with_timm().create_model(model, load_weights=False, device="meta")
        assert is_siglip(clip) == (model != "ViT-SO400M-16-SigLIP-i18n-256"), model
