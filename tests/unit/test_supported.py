"""Every architecture of open_clip is supported, or refused with the nearest one that is; docs/backbones.md lists all."""

import pytest

from kinetext.backbones.library import open_clip
from kinetext.backbones.native_models import facts_of
from kinetext.backbones.open_clip_vit import Architecture, OpenClipViT
from kinetext.backbones.supported import status_of, statuses, with_table
from kinetext.backbones.timm_models import preprocess_of
from kinetext.config.backbone import BackboneOptions
from kinetext.core import plugins
from repository import ROOT


def test_the_table_in_the_docs_is_that_of_this_version():
    page = (ROOT / "docs/backbones.md").read_text()
    assert with_table(page) == page, "run: python tools/backbones_table.py"


def test_at_least_89_of_144_architectures_are_supported():
    rows = statuses()
    assert len(rows) >= 144
    assert sum(row.family is not None for row in rows) >= 89


def test_what_replaces_an_architecture_is_supported_itself():
    for row in statuses():
        if row.family is None:
            assert row.reason
            assert status_of(row.substitute).family is not None


@pytest.mark.parametrize(
    ("model", "problem", "substitute"),
    [
        ("RN50", "a ResNet as image encoder", "ViT-B-32"),
        ("RN50x64", "a ResNet as image encoder", "ViT-L-14-336"),
        ("convnext_xxlarge", "the image encoder convnext_xxlarge of timm", "ViT-H-14"),
        ("swin_base_patch4_window7_224", "the image encoder swin_base", "ViT-B-16"),
        ("ViTamin-L2-336", "the image encoder vitamin_large2_336", "ViT-L-14-336"),
        ("MobileCLIP2-S2", "the image encoder fastvit_mci2", "MobileCLIP2-B"),
        ("xlm-roberta-large-ViT-H-14", "the text encoder xlm-roberta-large", "ViT-H-14-worldwide"),
        ("nllb-clip-base-siglip", "the text encoder facebook/nllb", "ViT-B-16-SigLIP-i18n-256"),
        ("coca_roberta-ViT-B-32", "the text encoder roberta-base", "coca_ViT-B-32"),
    ],
)
def test_a_refusal_is_one_sentence_with_the_nearest_model(model, problem, substitute):
    options = BackboneOptions(model=model, pretrained="laion2b")
    family = plugins.load("backbones", options.family)
    with pytest.raises(ValueError, match=f"'{model}' has {problem}.*nearest supported model is {substitute}$") as error:
        family.facts(plugins.configure(family, options.settings))
    assert "\n" not in str(error.value)


def test_how_published_weights_need_their_frames_is_known_without_open_clip():
    for row in statuses():
        for tag in open_clip().list_pretrained_tags_by_model(row.model) if row.family else ():
            settings, preprocess = open_clip().get_pretrained_cfg(row.model, tag), preprocess_of(row.model, tag)
            for name in ("interpolation", "resize_mode"):
                assert settings[name] == getattr(preprocess, name), (row.model, tag)


def test_a_model_is_refused_before_it_is_built():
    for refuse in (facts_of, lambda name: OpenClipViT(Architecture(name))):
        with pytest.raises(ValueError, match=r"'ViT-B-16-SigLIP' has the image encoder .* of timm"):
            refuse("ViT-B-16-SigLIP")
        with pytest.raises(ValueError, match="has no model 'ViT-B-61'; did you mean 'ViT-B-16'"):
            refuse("ViT-B-61")
