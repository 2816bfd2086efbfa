"""Contract of backbones, over every one found, and what trains of one."""

import pytest
import torch
from safetensors.torch import save_file

from kinetext.backbones.checkpoint import load_backbone
from kinetext.backbones.tiny import Tiny
from kinetext.config.training import TrainingOptions
from kinetext.contracts import Case, checks
from kinetext.core import plugins
from kinetext.training.setup import choose_trained
from method_inputs import build, noise_clips
from small_video import HAS_TRANSFORMERS, vjepa


def open_clip_options(folder):
    """Random weights of kinetext-tiny as a local file."""
    torch.manual_seed(0)
    save_file({name: t.contiguous() for name, t in Tiny().clip.state_dict().items()}, folder / "weights.safetensors")
    return {"model": "kinetext-tiny", "weights": str(folder / "weights.safetensors")}


def timm_options(folder, name="pe"):
    """Random weights of a small model with a ViT of timm as a local file."""
    import small_timm  # imports timm: seconds, which other tests need not wait for

    return small_timm.small_options(name, folder)


def video_options(folder):
    """A small V-JEPA 2 with random weights as a folder of the hub."""
    if not HAS_TRANSFORMERS:
        pytest.skip("transformers: not installed (the extra `video`)")
    vjepa().save_pretrained(folder / "hub")
    return {"weights": str(folder / "hub")}


# backbone -> a function of an empty folder to options that build a small model without a network
SMALL = {
    "tiny": lambda folder: {},
    "open_clip_vit": open_clip_options,
    "timm_vit": timm_options,
    "hf_video": video_options,
}


@pytest.mark.parametrize("name", plugins.names("backbones"))
@pytest.mark.parametrize("check", checks("backbones"), ids=lambda check: check.__name__)
def test_contract(name, check, tmp_path):
    assert name in SMALL, f"backbone '{name}' has no entry in SMALL; add a small config for it here"
    check(Case("backbones", name, tmp_path, SMALL[name](tmp_path)))


@pytest.mark.parametrize("name", ["pe_without_class", "eva02", "eva01", "eva_norm_after", "registers", "mobileclip_b"])
def test_every_layer_of_timm_keeps_the_contract(name, tmp_path):
    """SigLIP needs a tokenizer of the hub: tests/unit/test_hub_tokenizer.py."""
    wanted = ("facts_are_those_of_the_model", "tokens_have_the_right_shapes", "a_layer_is_its_branches")
    case = Case("backbones", "timm_vit", tmp_path, timm_options(tmp_path, name))
    for check in checks("backbones"):
        if check.__name__ in wanted:
            check(case)


def test_batch_norms_of_a_stem_keep_their_statistics_in_training():
    """Those of MobileCLIP-B. Frames of a clip resemble each other, unlike the images of the pretraining."""
    import small_timm

    backbone = small_timm.small("mobileclip_b")
    before = {name: buffer.clone() for name, buffer in backbone.named_buffers()}
    assert any("running_var" in name for name in before)
    frames_BTCHW = torch.randn(2, 2, 3, 32, 32)
    expected = backbone.encode_frames(frames_BTCHW)
    torch.testing.assert_close(backbone.train().encode_frames(frames_BTCHW), expected)
    assert all(torch.equal(buffer, before[name]) for name, buffer in backbone.named_buffers())


def test_models_of_an_architecture_share_a_tokenizer(tiny, tiny_folder):
    assert load_backbone(tiny_folder).tokenizer.model == tiny.tokenizer.model == "kinetext-tiny"


def test_bytes_are_normalised_as_clip_does(tiny):
    frames_BTCHW = torch.randint(256, (1, 2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    mean = torch.tensor((0.48145466, 0.4578275, 0.40821073)).view(3, 1, 1)
    std = torch.tensor((0.26862954, 0.26130258, 0.27577711)).view(3, 1, 1)
    torch.testing.assert_close(tiny.normalize(frames_BTCHW), (frames_BTCHW / 255 - mean) / std)


@pytest.mark.parametrize("encoder", ["trained", "frozen"])
def test_frozen_encoders_still_train_their_heads_and_never_word_embeddings_or_the_scale(tiny, encoder):
    method = build(tiny, "mean_pool")
    choose_trained(method, TrainingOptions(image_encoder=encoder, text_encoder=encoder))
    trained = {name for name, p in method.named_parameters() if p.requires_grad}
    assert ("backbone.clip.visual.conv1.weight" in trained) == (encoder == "trained")
    assert ("backbone.clip.ln_final.weight" in trained) == (encoder == "trained")
    assert {"backbone.clip.visual.ln_post.weight", "backbone.clip.visual.proj"} <= trained
    assert not trained & {"backbone.clip.logit_scale", "backbone.clip.token_embedding.weight"}
    assert torch.isfinite(method.encode_video(noise_clips())).all()
