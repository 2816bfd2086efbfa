"""With no method on top, a backbone with a ViT of timm is open_clip's own model."""

import pytest
import torch

from kinetext.backbones.base import TextTokens
from small_timm import TRUNKS, assert_encodes_as_open_clip, assert_equal_features, small


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", TRUNKS)
@torch.inference_mode()
def test_frames_are_encoded_as_open_clip_encodes_images(name, dtype):
    backbone = small(name).to(dtype)
    px = backbone.image_size_px
    frames_BTCHW = torch.randn(2, 3, 3, px, px, dtype=dtype)
    theirs = backbone.clip.encode_image(frames_BTCHW.flatten(0, 1)).unflatten(0, (2, 3))
    assert_equal_features(backbone.encode_frames(frames_BTCHW), theirs)


@pytest.mark.parametrize("name", TRUNKS)
@torch.inference_mode()
def test_the_tokens_of_a_layer_are_its_blocks_output(name):
    backbone = small(name).double()
    frames_BTCHW = torch.randn(1, 2, 3, 32, 32, dtype=torch.float64)
    seen = {}
    for number, block in enumerate(backbone.trunk.blocks, 1):
        block.register_forward_hook(lambda module, inputs, output, number=number: seen.update({number: output}))
    tokens = backbone.visual_tokens(frames_BTCHW, (1, 2, 4))
    backbone.clip.encode_image(frames_BTCHW[0])
    for number, tokens_BTNV in tokens.items():
        assert_equal_features(tokens_BTNV[0], seen[number])


@pytest.mark.parametrize("name", TRUNKS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@torch.inference_mode()
def test_texts_are_encoded_as_open_clip_encodes_them(name, dtype):
    backbone = small(name).to(dtype)
    lengths = torch.tensor([3, 9])
    mask_KL = torch.arange(backbone.context_length) < lengths[:, None]
    ids_KL = torch.randint(2, 150, mask_KL.shape) * mask_KL
    ids_KL[torch.arange(2), lengths - 1] = 199  # the end token has the largest id
    theirs_KD = backbone.clip.encode_text(ids_KL)
    ours_KD, words_KLD = backbone.encode_text(TextTokens(ids_KL, mask_KL))
    assert_equal_features(ours_KD, theirs_KD)
    assert words_KLD.shape == (*ids_KL.shape, backbone.embed_dim)
    if not backbone.sees_padding:
        short = TextTokens(ids_KL, mask_KL).columns(9)
        assert_equal_features(backbone.encode_text(short)[0], theirs_KD)


@torch.inference_mode()
def test_logits_have_the_scale_and_the_bias_of_open_clip():
    backbone = small("siglip").double()
    image, text = torch.randn(2, 3, 32, 32, dtype=torch.float64), torch.randint(2, 150, (3, 16))
    theirs_BK, _ = backbone.clip.get_logits(image, text)
    unit = [
        x / x.norm(dim=-1, keepdim=True) for x in (backbone.clip.encode_image(image), backbone.clip.encode_text(text))
    ]
    torch.testing.assert_close(backbone.logits(unit[0] @ unit[1].T), theirs_BK)
    assert backbone.clip.logit_bias.item() == -10


@torch.inference_mode()
def test_a_model_by_its_real_name_encodes_as_open_clip():
    """The larger ones: tests/integration/test_timm_names.py."""
    assert_encodes_as_open_clip("PE-Core-T-16-384")
