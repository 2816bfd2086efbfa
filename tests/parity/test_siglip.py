"""An exported SigLIP equals ours in `transformers.SiglipModel`, also the class of SigLIP 2's fixed resolutions."""

import json

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

import small_tokenizer
from kinetext.backbones.base import TextTokens
from kinetext.backbones.hub_siglip import is_siglip
from kinetext.backbones.text_tokens import find_tokenizer

ACTIVATIONS = {"siglip": "gelu", "siglip2": "gelu_pytorch_tanh"}  # of both encoders
CLEANING = {"tokenizer_kwargs": {"clean": "canonicalize"}}
ODD_TEXTS = [*small_tokenizer.TEXTS, "  Up_and\tDOWN -- [again]! ", "up " * 100, ""]


@pytest.fixture
def transformers():
    return pytest.importorskip("transformers", reason="transformers: not installed (the extra `video`)")


@pytest.fixture
def words(tmp_path):
    """The small tokenizer, as read from a folder of weights."""
    pytest.importorskip("tokenizers", reason="tokenizers: not installed")
    (tmp_path / "words").mkdir()
    small_tokenizer.write(tmp_path / "words")
    return find_tokenizer(CLEANING, str(tmp_path / "words"))


def small(name):
    import small_timm

    return small_timm.small(name)


def compare(ours, theirs):
    import small_timm

    small_timm.assert_equal_features(ours, theirs)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_features_and_scores_are_those_of_siglip_model(name, transformers, tmp_path):
    backbone = small(name)
    backbone.export(tmp_path)
    theirs = transformers.SiglipModel.from_pretrained(tmp_path).eval()
    assert theirs.config.vision_config.hidden_act == ACTIVATIONS[name]
    assert theirs.config.text_config.hidden_act == ACTIVATIONS[name]
    clip, _, _ = open_clip.create_model_and_transforms(f"local-dir:{tmp_path}")
    mask_KL = torch.arange(backbone.context_length) < torch.tensor([[3], [9]])
    ids_KL = torch.where(mask_KL, torch.randint(2, 200, mask_KL.shape), 1)  # padding is seen
    for dtype in (torch.float32, torch.float64):
        backbone, theirs, clip = backbone.to(dtype), theirs.to(dtype), clip.to(dtype).eval()
        frames_BTCHW = torch.randn(1, 3, 3, 32, 32, dtype=dtype)
        with torch.inference_mode():
            expected = theirs(pixel_values=frames_BTCHW[0], input_ids=ids_KL)
            image_FD = backbone.encode_frames(frames_BTCHW)[0]
            text_KD = backbone.encode_text(TextTokens(ids_KL, mask_KL))[0]
            compare(image_FD, expected.vision_model_output.pooler_output)
            compare(text_KD, expected.text_model_output.pooler_output)
            compare(image_FD, clip.encode_image(frames_BTCHW[0]))
            compare(text_KD, clip.encode_text(ids_KL))
            unit_FD, unit_KD = (x / x.norm(dim=-1, keepdim=True) for x in (image_FD, text_KD))
            compare(backbone.logits(unit_FD @ unit_KD.T), expected.logits_per_image)


def test_the_processor_of_transformers_gives_our_tokens_and_pixels(transformers, words, tmp_path):
    backbone = small("siglip")
    backbone.tokenizer = words
    backbone.preprocess = backbone.preprocess.__class__((0.5,) * 3, (0.5,) * 3, "bicubic", "squash")
    backbone.export(tmp_path)
    processor = transformers.AutoProcessor.from_pretrained(tmp_path)
    assert type(processor) is transformers.SiglipProcessor
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8))
    inputs = processor(images=image, text=ODD_TEXTS, padding="max_length", truncation=True, return_tensors="pt")
    assert set(inputs) == {"pixel_values", "input_ids"}  # no mask: padding is seen
    assert torch.equal(inputs["input_ids"], backbone.tokenize(ODD_TEXTS).ids_KL)
    _, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tmp_path}")
    difference = (inputs["pixel_values"][0] - preprocess(image)).abs()
    assert difference.max() < 2.01 * 2 / 255  # rounding of two libraries' resize


def test_an_exported_tokenizer_is_read_again_by_open_clip_and_here(transformers, words, tmp_path):
    backbone = small("siglip2")
    backbone.tokenizer = words
    backbone.export(tmp_path)
    exported = find_tokenizer(CLEANING, str(tmp_path))
    expected = [words.ids(text) for text in ODD_TEXTS]
    assert [exported.ids(text) for text in ODD_TEXTS] == expected
    ids_KL = open_clip.get_tokenizer(f"local-dir:{tmp_path}")(ODD_TEXTS)
    assert torch.equal(ids_KL, backbone.tokenize(ODD_TEXTS).ids_KL)
    backbone.tokenizer = exported
    (tmp_path / "twice").mkdir()
    backbone.export(tmp_path / "twice")  # cleaning is not added twice
    assert json.loads((tmp_path / "twice/tokenizer.json").read_text()) == json.loads(
        (tmp_path / "tokenizer.json").read_text()
    )


def _other_eps(clip):
    clip.text.ln_final.eps = 1e-5


def _other_activation(clip):
    clip.visual.trunk.attn_pool.mlp.act = torch.nn.GELU(approximate="tanh")


def _causal(clip):
    clip.text.attn_mask = torch.zeros(64, 64)


def _no_bias(clip):
    clip.logit_bias = None


def _more_tensors(clip):
    clip.visual.trunk.norm_pre = torch.nn.LayerNorm(64, eps=1e-6)


@pytest.mark.parametrize("change", [_other_eps, _other_activation, _causal, _no_bias, _more_tensors])
def test_a_model_that_siglip_model_does_not_compute_is_not_written_for_it(change, tmp_path):
    backbone = small("siglip")
    assert is_siglip(backbone.clip)
    change(backbone.clip)
    assert not is_siglip(backbone.clip)
    backbone.export(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "open_clip_config.json",
        "open_clip_model.safetensors",
    ]


@pytest.mark.parametrize("name", ["pe", "pe_without_class", "eva02", "registers", "mobileclip_b"])
def test_other_models_with_a_vit_of_timm_are_no_siglip(name):
    assert not is_siglip(small(name).clip)
