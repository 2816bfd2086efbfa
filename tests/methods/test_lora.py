"""LoRA of both encoders: the model is unchanged before training, its matrices train, and they are merged into the checkpoint."""

import pytest
import torch

from kinetext.backbones.checkpoint import load_backbone
from kinetext.backbones.open_clip_vit import Architecture, OpenClipViT
from kinetext.core.tensors import load_tensors
from kinetext.methods.base import build_method
from kinetext.methods.checkpoint import load_trained
from left import curve

pytestmark = pytest.mark.usefixtures("on_cpu")


def frames():
    return torch.randint(256, (2, 3, 3, 64, 64), dtype=torch.uint8)


def add_lora(backbone, rank=2):
    backbone.add_lora("image", rank, 1.0)
    backbone.add_lora("text", rank, 1.0)


def test_nothing_changes_before_training_and_merging_changes_nothing(tiny):
    frames_BTCHW, tokens = frames(), tiny.tokenize(["a red circle", "rising"])
    with torch.inference_mode():
        plain = tiny.encode_frames(frames_BTCHW), tiny.encode_text(tokens)[0]
    add_lora(tiny)
    with torch.inference_mode():
        assert torch.equal(tiny.encode_frames(frames_BTCHW), plain[0])
        # torch's own attention has a faster path for plain parameters, which rounds differently
        torch.testing.assert_close(tiny.encode_text(tokens)[0], plain[1])
    with torch.no_grad():
        for name, parameter in tiny.named_parameters():
            if name.endswith("up_3VR"):
                parameter.normal_(std=0.1)
        moved = tiny.encode_frames(frames_BTCHW)
    assert not torch.allclose(moved, plain[0], atol=1e-3)
    tiny.merge_lora()
    with torch.inference_mode():
        torch.testing.assert_close(tiny.encode_frames(frames_BTCHW), moved)
    assert not [name for name, _ in tiny.named_parameters() if "parametrizations" in name]


def test_dropout_is_of_the_products_alone_and_of_training_alone(tiny):
    """Its mean is the function without dropout; the products of queries, keys and values draw their own."""
    frames_BTCHW, tokens = frames(), tiny.tokenize(["a red circle", "rising"])

    def features():
        with torch.no_grad():
            return tiny.encode_frames(frames_BTCHW), tiny.encode_text(tokens)[0]

    plain = features()
    tiny.add_lora("image", 2, 1.0, 0.25)
    tiny.add_lora("text", 2, 1.0, 0.25)
    for ours, theirs in zip(features(), plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    tiny.train()
    for ours, theirs in zip(features(), plain, strict=True):  # the second matrices are zero
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        for name, parameter in tiny.named_parameters():
            if name.endswith("up_3VR"):
                parameter.normal_(std=0.1)
    for one, other in zip(features(), features(), strict=True):
        assert not torch.allclose(one, other, atol=1e-3)
    layer, x_SNV = tiny.layers[0], torch.randn(1, 4, tiny.width)
    with torch.no_grad():
        tiny.eval()
        exact = layer.keys_values(x_SNV)
        tiny.train()
        drawn = [layer.keys_values(x_SNV) for _ in range(400)]
    for number in range(2):
        mean_SNV = torch.stack([pair[number] for pair in drawn]).mean(0)
        torch.testing.assert_close(mean_SNV, exact[number], rtol=0, atol=0.2)
        assert not torch.equal(drawn[0][number], drawn[1][number])


def test_rank_2_on_vit_b_16_adds_the_published_count():
    backbone = OpenClipViT(Architecture("ViT-B-16"))
    add_lora(backbone)
    method = build_method(backbone, "mean_pool", {})
    assert sum(p.numel() for p in method.new_parameters().values()) == 184_320


def test_a_training_writes_merged_weights(trained, world):
    folder = trained("mean_pool", image_encoder="lora", text_encoder="lora", lr_new=1e-2)
    tensors, _ = load_tensors(folder / "checkpoint.safetensors")
    weights = {name for name in tensors if name.endswith("in_proj_weight")}
    start = load_backbone(world.backbone)
    assert len(weights) == start.num_layers + len(start.text_layers)
    assert not any("parametrizations" in name for name in tensors)
    before = dict(start.named_parameters())
    assert all(not torch.equal(tensors[name], before[name.removeprefix("backbone.")]) for name in weights)
    method = build_method(load_backbone(world.backbone), "mean_pool", {})
    load_trained(method, folder / "checkpoint.safetensors")
    assert len(curve(folder, "train_loss")) == 3
