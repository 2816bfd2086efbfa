"""With no method on top, the backbone is open_clip's own model."""

import logging

import open_clip
import pytest
import torch

from kinetext.backbones.base import TextTokens
from kinetext.backbones.open_clip_vit import Architecture, OpenClipViT
from kinetext.config.backbone import TINY

# CLIP's published preprocessing, written out (openai/CLIP, clip.py)
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
CAPTIONS = ["a red circle", "a blue square at the left, under a small green arrow that points down"]


@pytest.fixture(scope="module", params=[TINY, "ViT-B-32"])
def model(request):
    torch.manual_seed(0)
    return OpenClipViT(Architecture(request.param)).eval()


@pytest.fixture(params=[torch.float64, torch.float32])
def backbone(model, request):
    return model.to(request.param)


def assert_equal_features(ours, theirs) -> None:
    """Equal up to rounding, relative to the largest feature: 1e-10 in float64, 1e-5 in float32."""
    tolerance = 1e-10 if theirs.dtype == torch.float64 else 1e-5
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance * theirs.abs().max().item())


@torch.inference_mode()
def test_frames_are_encoded_as_open_clip_encodes_images(backbone):
    px, dtype = backbone.image_size_px, backbone.clip.logit_scale.dtype
    frames_BTCHW = torch.randint(256, (1, 2, 3, px, px), dtype=torch.uint8)
    # the backbone stores mean and deviation in float32, so they are rounded here too
    mean_C11, std_C11 = (torch.tensor(x).to(dtype).view(3, 1, 1) for x in (MEAN, STD))
    images = (frames_BTCHW[0].to(dtype) / 255 - mean_C11) / std_C11
    assert_equal_features(backbone.encode_frames(frames_BTCHW)[0], backbone.clip.encode_image(images))


@torch.inference_mode()
def test_the_tokens_of_a_layer_are_its_blocks_output(backbone):
    px = backbone.image_size_px
    frames_BTCHW = torch.randn(1, 2, 3, px, px, dtype=backbone.clip.logit_scale.dtype)
    seen = {}
    hooks = [
        backbone.visual.transformer.resblocks[layer - 1].register_forward_hook(
            lambda module, inputs, output, layer=layer: seen.update({layer: output})
        )
        for layer in (2, backbone.num_layers)
    ]
    tokens = backbone.visual_tokens(frames_BTCHW, (2, backbone.num_layers))
    backbone.clip.encode_image(frames_BTCHW[0])
    for hook in hooks:
        hook.remove()
    for layer, tokens_BTNV in tokens.items():
        assert tokens_BTNV.shape == (1, 2, 1 + backbone.grid[0] * backbone.grid[1], backbone.width)
        assert_equal_features(tokens_BTNV.flatten(0, 1), seen[layer])


@torch.inference_mode()
def test_texts_are_encoded_as_open_clip_encodes_them_and_padding_does_not_matter(backbone):
    full_KL = open_clip.get_tokenizer(backbone.built_from.model)(CAPTIONS)
    short = backbone.tokenize(CAPTIONS)
    short_KL = short.ids_KL
    assert full_KL.shape == (2, backbone.context_length)
    assert short_KL.shape[1] < full_KL.shape[1]
    assert torch.equal(short_KL, full_KL[:, : short_KL.shape[1]])
    theirs_KD = backbone.clip.encode_text(full_KL)
    full = TextTokens(full_KL, torch.arange(full_KL.shape[1]) < short.length_K[:, None])
    # the last product here is over all words, there over the last one: it may round the other way
    assert_equal_features(backbone.encode_text(full)[0], theirs_KD)
    short_KD, words_KLD = backbone.encode_text(short)
    assert_equal_features(short_KD, theirs_KD)
    assert (short.length_K - 1).tolist() == full_KL.argmax(-1).tolist()  # the end token has the largest id
    for k, last in enumerate((short.length_K - 1).tolist()):
        assert torch.equal(words_KLD[k, last], short_KD[k])


@torch.inference_mode()
def test_a_caption_that_is_too_long_keeps_its_end_and_its_words_and_is_counted(tiny, caplog):
    start, end = 49406, 49407
    long = ["red " * 100, "blue " * 100]
    with caplog.at_level(logging.WARNING):
        tokens = tiny.tokenize(["a circle", *long])
    tokens_KL = tokens.ids_KL
    assert tokens.length_K.tolist() == [4, 32, 32]
    assert "2 of 3 texts are over 32 tokens" in caplog.text
    assert tokens_KL.shape == (3, 32)
    assert (tokens_KL[:, 0] == start).all()
    assert tokens_KL[1:, -1].tolist() == [end, end]
    # STAN's released code loses the end token, and then all long captions are the same
    red_D, blue_D = tiny.encode_text(tokens)[0][1:]
    assert not torch.allclose(red_D, blue_D)
    caplog.clear()
    tiny.tokenize([" ".join(["red"] * 30)])  # 30 words, start and end: just fits
    assert not caplog.records


def test_frames_of_another_size_are_refused(tiny):
    with pytest.raises(ValueError, match="frames are 32x32 px, the backbone takes 64"):
        tiny.encode_frames(torch.zeros(1, 1, 3, 32, 32))
