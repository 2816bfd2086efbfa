"""Weights come from a file in either format, and what does not fit gives an error."""

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from kinetext.backbones.catalogue import ASSETS
from kinetext.backbones.checkpoint import load_backbone, save_backbone
from kinetext.backbones.embed import prepare_backbone
from kinetext.backbones.open_clip_vit import Architecture, OpenClipViT
from kinetext.backbones.values import Preprocess
from kinetext.config.backbone import TINY, BackboneOptions


@pytest.fixture(scope="module")
def small() -> OpenClipViT:
    torch.manual_seed(3)
    return OpenClipViT(Architecture(TINY)).eval()


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_local_weights_give_the_same_features(small: OpenClipViT, tmp_path: Path, suffix: str) -> None:
    weights = tmp_path / f"weights{suffix}"
    tensors = {name: t.clone() for name, t in small.clip.state_dict().items()}
    if suffix == ".safetensors":
        save_file(tensors, weights)
    else:  # as open_clip's own training writes it, from a distributed run
        torch.save({"epoch": 3, "state_dict": {f"module.{name}": t for name, t in tensors.items()}}, weights)
    prepare_backbone(BackboneOptions(model=TINY, weights=str(weights)), tmp_path / "backbone")
    frames_BTCHW = torch.randn(1, 2, 3, 64, 64)
    with torch.inference_mode():
        reloaded = load_backbone(tmp_path / "backbone").encode_frames(frames_BTCHW)
        assert torch.equal(reloaded, small.encode_frames(frames_BTCHW))


def test_pixels_are_normalised_as_the_weights_were_trained(small: OpenClipViT, tmp_path: Path) -> None:
    clip = small.built_from.model
    inception = OpenClipViT(Architecture(clip, preprocess=Preprocess((0.5,) * 3, (0.5,) * 3)))
    save_backbone(inception, tmp_path, {})
    assert load_backbone(tmp_path).mean_C.tolist() == [0.5] * 3
    white = torch.full((1, 1, 3, 1, 1), 255, dtype=torch.uint8)
    assert load_backbone(tmp_path).normalize(white).flatten().tolist() == [1.0] * 3


def test_weights_of_another_architecture_are_refused(small: OpenClipViT, tmp_path: Path) -> None:
    weights = tmp_path / "small.pt"
    torch.save(small.clip.state_dict(), weights)
    with pytest.raises(ValueError, match=r"small\.pt does not fit ViT-S-32"):
        prepare_backbone(BackboneOptions(model="ViT-S-32", weights=str(weights)), tmp_path / "backbone")


def test_an_unknown_tag_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no pretrained tag 'opnai'; known: openai"):
        prepare_backbone(BackboneOptions(model="ViT-B-32", pretrained="opnai"), tmp_path)


def test_shipped_tiny_weights_are_small_and_load_the_same_each_time(tmp_path: Path, caplog) -> None:
    assert (ASSETS / "tiny/weights.safetensors").stat().st_size < 4_000_000
    prepare_backbone(BackboneOptions(model=TINY), tmp_path)
    with caplog.at_level(logging.WARNING):
        first, second = load_backbone(ASSETS / "tiny"), load_backbone(tmp_path)
    assert not caplog.records  # open_clip's "no pretrained weights loaded" would frighten a reader of the log
    for (name, a), b in zip(first.named_parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b), name


def test_tiny_can_be_pretrained_by_the_pipeline(tmp_path: Path, monkeypatch) -> None:
    from kinetext.backbones.tiny import pretrain

    draw = pretrain.draw_stills
    monkeypatch.setattr(pretrain, "draw_stills", lambda count, seed: draw(64, seed))  # 30 000 take 15 s
    monkeypatch.setattr(pretrain.pretrain_tiny, "__defaults__", (16, 64, 0))
    prepare_backbone(BackboneOptions(model=TINY, pretrain_steps=2), tmp_path)
    trained, start = load_backbone(tmp_path), load_backbone(ASSETS / "tiny")
    assert not torch.equal(trained.visual.proj, start.visual.proj)
    assert trained.encode_text(trained.tokenize(["a red circle"]))[0].isfinite().all()
