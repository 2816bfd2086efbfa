"""Methods that work inside the image encoder, what counts as a new parameter, and what "frozen" means."""

import pytest
import torch
from torch import nn

from kinetext.backbones.checkpoint import load_backbone
from kinetext.config.training import TrainingOptions
from kinetext.methods.base import LossInputs, Method, build_method
from kinetext.training.objectives import total
from kinetext.training.setup import choose_trained
from kinetext.training.train import require_gradients

TARGET_B = torch.tensor([0, 1])
RIVALS_KK = torch.ones(3, 3, dtype=torch.bool)


class Adapters(Method):
    """A bottleneck after each attention, zero at the start."""

    inside = True

    def __init__(self, backbone, config=None):
        super().__init__(backbone, config)
        V = backbone.width
        self.down = nn.ModuleList(nn.Linear(V, 8) for _ in backbone.layers)
        self.up = nn.ModuleList(nn.Linear(8, V) for _ in backbone.layers)
        for up in self.up:
            nn.init.zeros_(up.weight)
            nn.init.zeros_(up.bias)

    def layer(self, number, layer, x_BTNV):
        x_SNV = x_BTNV.flatten(0, 1)
        attended = layer.attention(x_SNV)
        x_SNV = x_SNV + attended + self.up[number - 1](self.down[number - 1](attended).relu())
        return (x_SNV + layer.mlp(x_SNV)).unflatten(0, x_BTNV.shape[:2])


def frames():
    return torch.randint(256, (2, 3, 3, 64, 64), dtype=torch.uint8)


def losses_of(method, text_KD):
    return method.losses(LossInputs(method.encode_video(frames()), text_KD, TARGET_B, RIVALS_KK))


def test_the_default_hook_changes_no_bit(tiny):
    frames_BTCHW = frames()
    with torch.inference_mode():
        plain = tiny.visual_tokens(frames_BTCHW, (0, 1, 4))
        hooked = tiny.visual_tokens(frames_BTCHW, (0, 1, 4), through=Method(tiny, None).layer)
    assert all(torch.equal(plain[number], hooked[number]) for number in plain)


def test_zero_adapters_inside_the_encoder_equal_mean_pooling(tiny):
    frames_BTCHW = frames()
    with torch.inference_mode():
        adapted, plain = (method.encode_video(frames_BTCHW) for method in (Adapters(tiny), Method(tiny, None)))
    torch.testing.assert_close(adapted, plain)


def test_adapters_inside_a_frozen_image_encoder_get_gradients(tiny):
    method = Adapters(tiny)
    choose_trained(method, TrainingOptions(image_encoder="frozen"))
    nn.init.normal_(method.up[0].weight)
    total(losses_of(method, torch.randn(3, tiny.embed_dim))).backward()
    new = method.new_parameters()
    assert len(new) == 4 * tiny.num_layers
    assert all(p.grad is not None for p in new.values())
    assert method.down[0].weight.grad.abs().sum() > 0
    frozen = [p for name, p in tiny.named_parameters() if tiny.depth_of(name).part == "image"]
    assert len(frozen) > 20
    assert all(p.grad is None for p in frozen)


def test_a_new_parameter_without_a_gradient_is_named(tiny):
    method = Adapters(tiny)
    method.unused = nn.Parameter(torch.zeros(3))
    choose_trained(method, TrainingOptions(image_encoder="frozen"))
    total(losses_of(method, torch.randn(3, tiny.embed_dim))).backward()
    with pytest.raises(ValueError, match=r"Adapters: parameter unused \(3,\) gets no gradient in the first step"):
        require_gradients(method)


def test_new_parameters_are_those_that_the_backbone_was_not_loaded_with(tiny):
    """Also where a parametrization renames the backbone's own parameters and adds some."""

    class AddDelta(nn.Module):
        def __init__(self, weight):
            super().__init__()
            self.delta = nn.Parameter(torch.zeros_like(weight))

        def forward(self, weight):
            return weight + self.delta

    attention = tiny.clip.visual.transformer.resblocks[0].attn
    nn.utils.parametrize.register_parametrization(attention, "in_proj_weight", AddDelta(attention.in_proj_weight))
    method = build_method(tiny, "mean_pool", {})
    assert [name.rpartition(".")[2] for name in method.new_parameters()] == ["delta"]
    choose_trained(method, TrainingOptions(image_encoder="frozen"))
    total(losses_of(method, torch.randn(3, tiny.embed_dim))).backward()
    require_gradients(method)


def test_every_parameter_of_a_backbone_has_a_place(tiny):
    places = {name: tiny.depth_of(name) for name, _ in tiny.named_parameters()}
    levels = {position.level for position in places.values() if position.part == "image"}
    assert levels == set(range(tiny.num_layers + 1))
    assert {position.part for position in places.values()} == {"image", "image_head", "text", "words", "scale"}
    assert places["clip.visual.proj"] == ("image_head", tiny.num_layers + 1)
    assert places["clip.token_embedding.weight"] == ("words", 0)


def test_a_layers_own_keys_twice_leave_attention_as_it_is(tiny):
    """Extra keys and values equal to the layer's own double every weight, and the softmax divides them again."""
    layer, x_SNV = tiny.layers[0], torch.randn(2, 5, tiny.width)
    with torch.inference_mode():
        plain = layer.attention(x_SNV)
        torch.testing.assert_close(layer.attention(x_SNV, extra_keys_values=layer.keys_values(x_SNV)), plain)
        torch.testing.assert_close(layer.attention(x_SNV, num_queries=1), plain[:, :1])


def test_the_scale_is_clamped_after_a_step_and_not_in_the_forward_pass(tiny_folder):
    backbone = load_backbone(tiny_folder)
    with torch.no_grad():
        backbone.clip.logit_scale.fill_(5.0)
    backbone.logits(torch.ones(())).backward()
    assert backbone.clip.logit_scale.grad > 0  # over the cap it still learns
    backbone.clamp_scale()
    assert backbone.logits(torch.ones(())).item() == pytest.approx(100.0)
