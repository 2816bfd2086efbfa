"""CLIPA, MetaCLIP 2 and CoCa: small models with random weights give what open_clip's own functions give."""

import json

import open_clip
import pytest
import torch

from kinetext.backbones.native_models import facts_of
from kinetext.backbones.open_clip_vit import OpenClipViT
from kinetext.backbones.text_tokens import HubTokenizer
from kinetext.backbones.values import TextTokens
from kinetext.core import plugins
from kinetext.core.tensors import load_tensors
from small_native import EMBED_DIM, VARIANTS, WIDTH, register, small

END, PAD = 2, 0


@pytest.fixture(params=VARIANTS)
def backbone(request):
    return small(request.param)


def some_tokens(backbone) -> TextTokens:
    """Three texts of 3, 8 and L tokens that end with END (the largest id where that is the end)."""
    L = backbone.context_length
    lengths = torch.tensor([3, 8, L])
    ids_KL = torch.randint(3, 50, (3, L))
    ids_KL[torch.arange(3), lengths - 1] = END if hasattr(backbone.clip, "text_eos_id") else 59
    mask_KL = torch.arange(L) < lengths[:, None]
    if getattr(backbone.clip, "text_pool_type", "argmax") == "argmax":
        ids_KL[torch.arange(3), lengths - 1] = 59
    return TextTokens(torch.where(mask_KL, ids_KL, PAD), mask_KL)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_features_are_those_of_open_clip(backbone, dtype, tolerance):
    backbone.to(dtype)
    frames_BTCHW, tokens = torch.randn(1, 3, 3, 32, 32, dtype=dtype), some_tokens(backbone)
    with torch.inference_mode():
        ours_BTD, theirs_FD = backbone.encode_frames(frames_BTCHW), backbone.clip.encode_image(frames_BTCHW[0])
        text_KD, words_KLD = backbone.encode_text(tokens)
        torch.testing.assert_close(ours_BTD[0], theirs_FD, rtol=0, atol=tolerance * theirs_FD.abs().max().item())
        expected_KD = backbone.clip.encode_text(tokens.ids_KL)
    torch.testing.assert_close(text_KD, expected_KD, rtol=0, atol=tolerance * expected_KD.abs().max().item())
    assert words_KLD.shape == (*tokens.ids_KL.shape, EMBED_DIM)


def test_a_summary_has_the_width_of_tokens_after_every_layer(backbone):
    tokens = backbone.visual_tokens(torch.randn(2, 3, 3, 32, 32), (1, 2))
    for x_BTNV in tokens.values():
        assert backbone.summary(x_BTNV).shape == (2, 3, WIDTH)
    places = {backbone.depth_of(name).part for name, _ in backbone.named_parameters()}
    assert places == {"image", "image_head", "text", "words", "scale"}


def test_padding_is_cut_only_where_it_is_not_seen(backbone):
    backbone.double()
    tokens = some_tokens(backbone).take(slice(0, 2))
    with torch.inference_mode():
        whole_KD, short_KD = (backbone.encode_text(part)[0] for part in (tokens, tokens.columns(8)))
    same = torch.allclose(whole_KD, short_KD, rtol=0, atol=1e-9 * whole_KD.abs().max().item())
    assert same != backbone.sees_padding


def test_a_variant_is_saved_with_its_tokenizer_and_exported(backbone, tmp_path):
    if "hf_tokenizer_name" in open_clip.get_model_config(backbone.built_from.model)["text_cfg"]:
        backbone.tokenizer = HubTokenizer(b"{}", "[PAD]", zero_token="[SEP]")
    architecture = json.loads(json.dumps(backbone.architecture()))
    rebuilt = OpenClipViT.rebuild(architecture)
    rebuilt.restore(backbone.stored_tensors())
    if isinstance(backbone.tokenizer, HubTokenizer):
        assert rebuilt.tokenizer == backbone.tokenizer
    assert rebuilt.preprocess == backbone.preprocess
    if backbone.is_coca:
        with pytest.raises(ValueError, match="caption decoder of CoCa"):
            backbone.export(tmp_path)
        return
    backbone.export(tmp_path)
    assert (tmp_path / "tokenizer.json").is_file() == isinstance(backbone.tokenizer, HubTokenizer)
    state = open_clip.create_model(f"local-dir:{tmp_path}").state_dict()
    tensors = load_tensors(tmp_path / "open_clip_model.safetensors")[0]
    assert all(torch.equal(tensor, state[name]) for name, tensor in tensors.items())


def test_weights_of_coca_are_read_without_the_decoder(tmp_path):
    register()
    torch.manual_seed(0)
    clip = open_clip.create_model("small-coca")
    torch.save(clip.state_dict(), tmp_path / "coca.pt")
    backbone = OpenClipViT.prepare(OpenClipViT.Config(model="small-coca", weights=str(tmp_path / "coca.pt"))).eval()
    assert not any("decoder" in name for name, _ in backbone.named_parameters())
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(backbone.encode_frames(images[None])[0], clip.eval().encode_image(images))


def test_a_long_text_of_clipa_has_no_end_but_zeros():
    """CLIPA's end token has id 0 in the model, like padding."""
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers: not installed")
    words = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "red": 4, "circle": 5}
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    model.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    model.post_processor = tokenizers.processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    tokenizer = HubTokenizer(model.to_str().encode(), "[PAD]", zero_token="[SEP]")
    tokens = small("clipa", tokenizer=tokenizer).tokenize(["red circle", "red " * 40])
    assert tokens.ids_KL[0].tolist() == [2, 4, 5, 0] + [0] * 28
    assert tokens.ids_KL[1].tolist() == [2] + [4] * 30 + [0]


def test_each_family_has_its_preprocessing():
    clipa = facts_of("ViT-L-14-CLIPA")
    assert (clipa.interpolation, clipa.resize_mode, clipa.context_length) == ("bilinear", "squash", 32)
    assert facts_of("ViT-H-14-quickgelu").resize_mode == "shortest"
    assert facts_of("ViT-H-14-quickgelu", "dfn5b").resize_mode == "squash"


@pytest.mark.parametrize(("family", "model"), [("open_clip_vit", "ViT-bigG-14"), ("timm_vit", "ViT-SO400M-14-SigLIP2")])
def test_a_giant_is_built_on_the_meta_device(family, model):
    """`benchmarks/backbones.py` checks names and shapes of models that are too large to fill."""
    tokenizer = {"pad_token": "[PAD]", "clean": "whitespace"}
    with torch.device("meta"):
        backbone = plugins.load("backbones", family).rebuild(
            {"model": model, "quick_gelu": False, "tokenizer": tokenizer}
        )
        frames_BTCHW = torch.empty(1, 1, 3, backbone.image_size_px, backbone.image_size_px)
        features_BTD = backbone.encode_frames(frames_BTCHW)
    assert all(parameter.is_meta for parameter in backbone.parameters())
    assert features_BTD.shape == (1, 1, backbone.embed_dim)
