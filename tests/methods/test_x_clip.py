"""x_clip: what it adds, its positions, and what its messages do."""

from types import SimpleNamespace

import pytest
import torch

from method_inputs import T, assert_same, build, name_table, noise_clips, score


def test_x_clip_adds_45_million_parameters_on_vit_b_16(tiny):
    layers = [SimpleNamespace(num_heads=12)] * 12
    vit_b_16 = SimpleNamespace(embed_dim=512, width=768, layers=layers, new_layer=tiny.new_layer)
    with torch.device("meta"):
        method = build(vit_b_16, "x_clip")
    counts = {}
    for name, parameter in method.new_parameters().items():
        part = name.partition(".")[0]
        counts[part] = counts.get(part, 0) + parameter.numel()
    assert counts == {"messages": 35_453_952, "integration": 3_156_480, "prompts": 6_697_984}
    assert sum(counts.values()) == 45_308_416


def test_prompts_start_at_a_tenth_and_the_temperature_does_not_train(tiny):
    method = build(tiny, "x_clip")
    assert torch.equal(method.prompts.scale_D, torch.full((tiny.embed_dim,), 0.1))
    assert method.prompts.patch_proj_VD.std().item() == pytest.approx(1, rel=0.05)
    assert method.integration.position_PD.std().item() == pytest.approx(0.02, rel=0.15)


@torch.inference_mode()
def test_a_message_carries_what_another_frame_shows(tiny):
    """Without messages a frame's tokens depend on no other frame."""
    method, frames_BTCHW = build(tiny, "x_clip"), noise_clips()
    other_BTCHW = frames_BTCHW.clone()
    other_BTCHW[:, 0] += 1
    first, second = (method.image_tokens(frames)[4][:, -1] for frames in (frames_BTCHW, other_BTCHW))
    assert (first - second).abs().max() > 1e-4
    first_alone, second_alone = (tiny.visual_tokens(frames, (4,))[4][:, -1] for frames in (frames_BTCHW, other_BTCHW))
    assert torch.equal(first_alone, second_alone)


@torch.inference_mode()
def test_positions_of_other_lengths_are_interpolated(tiny):
    positions = build(tiny, "x_clip", frames=4).integration.positions
    assert torch.equal(positions(4), build(tiny, "x_clip", frames=4).integration.position_PD)
    assert_same(positions(2), torch.stack([positions(4)[:2].mean(0), positions(4)[2:].mean(0)]))
    assert positions(9).shape == (9, tiny.embed_dim)


def test_without_prompts_and_integration_the_score_is_a_cosine(tiny):
    """The last layer of the integration adds nothing if its output is zero, nor do prompts with a factor of zero."""
    method = build(tiny, "x_clip", frames=T)
    with torch.no_grad():
        method.prompts.scale_D.zero_()
        method.integration.position_PD.zero_()
        for block in method.integration.layers:
            for name, parameter in block.named_parameters():
                if "out_proj" in name or "c_proj" in name:
                    parameter.zero_()
        for message in method.messages:  # a message of zeros still takes part of the attention
            message.fc.weight.zero_()
    table = name_table(tiny)
    with torch.inference_mode():
        features_BD = method.frame_features(method.image_tokens(noise_clips())).mean(1)
        expected = tiny.logits(
            torch.nn.functional.cosine_similarity(features_BD[:, None], method.encode_texts(table)[None], dim=-1)
        )
    assert_same(score(method, noise_clips(), table), expected)


def test_x_clip_refuses_heads_that_do_not_divide_the_width(tiny):
    with pytest.raises(
        ValueError, match=r"x_clip: heads is 5, which does not divide the width .*, 128; take a divisor"
    ):
        build(tiny, "x_clip", heads=5)


@pytest.mark.parametrize("name", ["siglip", "pe", "eva_norm_after"])
def test_x_clip_works_on_encoders_without_a_class_token_and_with_rotary_positions(name):
    import small_timm  # imports timm: seconds

    method = build(small_timm.small(name), "x_clip")
    frames_BTCHW = torch.randn(2, 3, 3, small_timm.PX, small_timm.PX)
    scores_BK = method.score(method.encode_video(frames_BTCHW), torch.randn(4, method.backbone.embed_dim))
    alone_BK = method.score(method.encode_video(frames_BTCHW[:1]), torch.ones(1, method.backbone.embed_dim))
    assert scores_BK.shape == (2, 4)
    assert alone_BK.isfinite().all()
    scores_BK.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in method.new_parameters().values())
