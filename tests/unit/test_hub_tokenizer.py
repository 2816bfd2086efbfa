"""SigLIP's texts: a tokenizer of the hub, padding to the whole context, and a sentence where files are missing."""

import importlib.util
import json

import pytest
import torch

import small_tokenizer
from kinetext.backbones import text_tokens
from kinetext.backbones.checkpoint import load_backbone, save_backbone
from kinetext.backbones.text_table import text_table
from kinetext.backbones.text_tokens import FILE, SETTINGS, HubTokenizer, find_tokenizer, tokenize
from kinetext.contracts import Case, checks
from small_tokenizer import TEXTS

pytestmark = pytest.mark.skipif(
    not importlib.util.find_spec("tokenizers"), reason="tokenizers: not installed on this machine"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A snapshot of the hub: weights of a small SigLIP, and a sentencepiece-like tokenizer trained on four sentences."""
    import small_timm

    folder = tmp_path_factory.mktemp("siglip")
    small_tokenizer.write(folder)
    preprocess_cfg = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": {}, "preprocess_cfg": preprocess_cfg}))
    small_timm.small_options("siglip", folder)
    return folder


def options(folder):
    import small_timm

    return {"model": small_timm.NAMES["siglip"], "weights": str(folder)}


@pytest.mark.parametrize("check", checks("backbones"), ids=lambda check: check.__name__)
def test_siglip_keeps_the_contract(check, folder, tmp_path):
    check(Case("backbones", "timm_vit", tmp_path, options(folder)))


def test_a_prepared_backbone_holds_its_tokenizer_its_pixels_and_its_scale(folder, tmp_path):
    case = Case("backbones", "timm_vit", tmp_path, options(folder))
    backbone = case.cls.prepare(case.config)
    with torch.no_grad():
        backbone.clip.logit_scale.fill_(4.75)  # SigLIP's scale is about 115, over CLIP's maximum
    save_backbone(backbone, tmp_path, {"weights": "test"}, "timm_vit")
    loaded = load_backbone(tmp_path)
    assert loaded.tokenizer.content == (folder / FILE).read_bytes()
    assert (loaded.preprocess.resize_mode, loaded.preprocess.interpolation) == ("squash", "bicubic")
    with pytest.raises(ValueError, match=r"resize_mode: shortest, and the weights of the backbone need squash"):
        loaded.require_frames("shortest", "bicubic")
    loaded.clamp_scale()
    assert loaded.clip.logit_scale.item() == 4.75
    assert loaded.logits(torch.zeros(1)).item() == -10  # the bias
    count = case.cls.token_counter({**loaded.architecture(), "folder": str(tmp_path)})
    assert [min(count(text), loaded.context_length) for text in TEXTS] == loaded.tokenize(TEXTS).mask_KL.sum(1).tolist()


def test_texts_are_padded_to_the_context_and_cut_before_the_end_token(folder, caplog):
    tokenizer = find_tokenizer({"tokenizer_kwargs": {"clean": "canonicalize"}}, str(folder))
    tokens = tokenize(tokenizer, [*TEXTS, "up " * 40], 16, whole=True)
    assert tokens.ids_KL.shape == (5, 16)
    assert "of 5 texts are over 16 tokens and were cut" in caplog.text
    for row, length in zip(tokens.ids_KL.tolist(), tokens.length_K.tolist(), strict=True):
        assert row[length - 1] == 1  # the end token
        assert set(row[length:]) <= {0}  # padding
    assert tokens.ids_KL[3].tolist() == tokenize(tokenizer, ["moving left"], 16, whole=True).ids_KL[0].tolist()
    zeros_S = torch.zeros(5, dtype=torch.long)
    table = text_table(["a"] * 5, tokens, torch.arange(5), zeros_S.bool(), zeros_S, zeros_S, trim=False)
    assert len(table.groups.tokens) == 1  # not grouped by length
    assert table.take(torch.tensor([3])).tokens.ids_KL.shape[1] == 16


def test_a_tokenizer_that_is_nowhere_is_one_sentence(tmp_path, monkeypatch):
    def no_network(repository, names, needed):
        raise ValueError(f"hf-hub:{repository} is not in the cache and cannot be downloaded (no network)")

    monkeypatch.setattr(text_tokens, "hub_file", no_network)
    with pytest.raises(
        ValueError, match=r"the tokenizer is missing: hf-hub:timm/x is not in the cache.*put tokenizer\."
    ):
        find_tokenizer({"hf_tokenizer_name": "timm/x"}, str(tmp_path))
    (tmp_path / FILE).write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer_config.json: names no pad_token"):
        find_tokenizer({"hf_tokenizer_name": "timm/x"}, str(tmp_path))
    with pytest.raises(ValueError, match=r"tokenizer.json: is no tokenizer of the hub"):
        HubTokenizer(b"{}", "<pad>").ids("up")
    (tmp_path / SETTINGS).write_text('{"pad_token": "</s>"}')
    assert find_tokenizer({}, str(tmp_path)).pad_token == "</s>"
