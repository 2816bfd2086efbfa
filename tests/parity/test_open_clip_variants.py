"""CLIPA, MetaCLIP 2 and CoCa: small models with random weights give what open_clip's own functions give."""

import json

import open_clip
import pytest
import torch

from kinetext.backbones.native_models import facts_of
from kinetext.backbones.open_clip_vit import Architecture, OpenClipViT
from kinetext.backbones.text_tokens import HubTokenizer
from kinetext.backbones.values import TextTokens
from kinetext.core.tensors import load_tensors

VISION = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16}
TEXT = {"context_length": 12, "vocab_size": 60, "width": 24, "heads": 2, "layers": 2}
DECODER = {"context_length": 12, "vocab_size": 60, "width": 24, "heads": 2, "layers": 1, "attn_pooler_heads": 2}
CLIPA = {"no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True}
COCA = {"custom_text": True, "multimodal_cfg": DECODER}
HUB = {"hf_tokenizer_name": "kinetext/no-such-tokenizer"}
POOLED = {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}
VARIANTS = {  # name -> (image encoder, text encoder, the rest)
    "clipa": (CLIPA, {**HUB, "pool_type": "last", "no_causal_mask": True}, {}),
    "worldwide": ({}, {**HUB, "pool_type": "eos", "eos_id": 2}, {"quick_gelu": True}),
    "coca": (POOLED, {"embed_cls": True, "output_tokens": True}, COCA),
    "coca_class": ({"output_tokens": True}, {"embed_cls": True, "output_tokens": True}, COCA),
    "custom_text": ({}, {"proj_bias": True}, {"custom_text": True}),
    "layer_scale": ({"ls_init_value": 0.1, "mlp_ratio": 3.0}, {"ls_init_value": 0.1}, {}),
}
END, PAD = 2, 0


@pytest.fixture(scope="module")
def registered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("configs")
    for name, (vision, text, others) in VARIANTS.items():
        settings = {"embed_dim": 16, "vision_cfg": {**VISION, **vision}, "text_cfg": {**TEXT, **text}, **others}
        (folder / f"small-{name}.json").write_text(json.dumps(settings))
    open_clip.add_model_config(folder)


@pytest.fixture(params=VARIANTS)
def backbone(request, registered):
    torch.manual_seed(0)
    backbone = OpenClipViT(Architecture(f"small-{request.param}")).eval()
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # norms and class tokens are all one or zero at first
    return backbone


def some_tokens(backbone) -> TextTokens:
    """Three texts of 3, 8 and 12 tokens that end with END (the largest id where that is the end)."""
    lengths = torch.tensor([3, 8, 12])
    ids_KL = torch.randint(3, 50, (3, 12))
    ids_KL[torch.arange(3), lengths - 1] = END if hasattr(backbone.clip, "text_eos_id") else 59
    mask_KL = torch.arange(12) < lengths[:, None]
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
    assert words_KLD.shape == (3, 12, 16)


def test_a_summary_has_the_width_of_tokens_after_every_layer(backbone):
    tokens = backbone.visual_tokens(torch.randn(2, 3, 3, 32, 32), (1, 2))
    for x_BTNV in tokens.values():
        assert backbone.summary(x_BTNV).shape == (2, 3, 32)
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


def test_weights_of_coca_are_read_without_the_decoder(registered, tmp_path):
    torch.manual_seed(0)
    clip = open_clip.create_model("small-coca")
    torch.save(clip.state_dict(), tmp_path / "coca.pt")
    backbone = OpenClipViT.prepare(OpenClipViT.Config(model="small-coca", weights=str(tmp_path / "coca.pt"))).eval()
    assert not any("decoder" in name for name, _ in backbone.named_parameters())
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(backbone.encode_frames(images[None])[0], clip.eval().encode_image(images))


def test_a_long_text_of_clipa_has_no_end_but_zeros(registered):
    """CLIPA's end token has id 0 in the model, like padding."""
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers: not installed")
    words = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "red": 4, "circle": 5}
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    model.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    model.post_processor = tokenizers.processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    tokenizer = HubTokenizer(model.to_str().encode(), "[PAD]", zero_token="[SEP]")
    backbone = OpenClipViT(Architecture("small-clipa", tokenizer=tokenizer))
    tokens = backbone.tokenize(["red circle", "red " * 20])
    assert tokens.ids_KL[0].tolist() == [2, 4, 5, 0] + [0] * 8
    assert tokens.ids_KL[1].tolist() == [2] + [4] * 10 + [0]


def test_each_family_has_its_preprocessing():
    clipa = facts_of("ViT-L-14-CLIPA")
    assert (clipa.interpolation, clipa.resize_mode, clipa.context_length) == ("bilinear", "squash", 32)
    assert facts_of("ViT-H-14-quickgelu").resize_mode == "shortest"
    assert facts_of("ViT-H-14-quickgelu", "dfn5b").resize_mode == "squash"
