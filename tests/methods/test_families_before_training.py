"""What methods equal before training, on one small random model per family. On CLIP: the test module of each method."""

import pytest
import torch
import torch.nn.functional as F

from families import FAMILIES, small
from kinetext.backbones.text_table import tabulate_texts
from kinetext.config.training import TrainingOptions
from kinetext.training.setup import add_lora, choose_trained
from method_inputs import LABELS, B, T, assert_same, build, fit, name_table, perturb, score
from worlds import text_rows

LORA = TrainingOptions(image_encoder="lora", text_encoder="lora")
EQUAL = {  # methods with the options with which they equal zero_shot on the names before training
    "mean_pool": {},
    "st_adapter": {},
    "aim": {},
    "zs_lp": {"epochs": 0},
    "tip_adapter": {"alpha": 0},
    "cross_modal_probe": {"steps": 0},
    "moted": {"align": 0, "hard": 0, "motion": 0},
}


@pytest.fixture(params=FAMILIES)
def backbone(request):
    return small(request.param)


def clips():
    return torch.randn(B, T, 3, 32, 32)


def all_texts(backbone):
    return tabulate_texts(text_rows(LABELS), LABELS, backbone)


def zero_shot(backbone, frames_BTCHW, table):
    return score(build(backbone, "zero_shot"), frames_BTCHW, table)


@pytest.mark.parametrize("name", EQUAL)
def test_a_method_that_equals_zero_shot_before_training_does_so_on_every_family(backbone, name):
    frames_BTCHW, names = clips(), name_table(backbone)
    expected_BK = zero_shot(backbone, frames_BTCHW, names)
    method = build(backbone, name, **EQUAL[name])
    table = all_texts(backbone) if method.needs_descriptions else names
    if method.fits:
        fit(method, frames_BTCHW, table)
    assert_same(score(method, frames_BTCHW, table), expected_BK)
    assert expected_BK.std() > 1e-2


def test_lora_changes_nothing_before_training_and_merging_changes_nothing_after(backbone):
    frames_BTCHW, table = clips(), name_table(backbone)
    expected_BK = zero_shot(backbone, frames_BTCHW, table)
    method = build(backbone, "mean_pool")
    add_lora(method, LORA, torch.device("cpu"))
    assert_same(score(method, frames_BTCHW, table), expected_BK)
    choose_trained(method, LORA)
    perturb(method)
    trained_BK = score(method, frames_BTCHW, table)
    assert (trained_BK - expected_BK).abs().max() > 1e-2
    method.backbone.merge_lora()
    assert not [name for name, _ in method.named_parameters() if "parametrizations" in name]
    assert_same(score(method, frames_BTCHW, table), trained_BK)


def test_clips_of_equal_frames_have_the_scores_of_zero_shot(backbone):
    """Word weighting averages frames; a window of equal frames leaves attention as it is, except at the ends."""
    middle = backbone.num_layers  # each layer carries the difference of the ends on by one frame
    frames_BTCHW = torch.randn(B, 1, 3, 32, 32).repeat(1, 2 * middle + 1, 1, 1, 1)
    table = name_table(backbone)
    expected_BK = zero_shot(backbone, frames_BTCHW, table)
    assert_same(score(build(backbone, "word_weighting"), frames_BTCHW, table), expected_BK)
    method = build(backbone, "window_attention")
    with torch.inference_mode():
        features_BTD = method.frame_features(method.image_tokens(frames_BTCHW))
        plain_BTD = backbone.encode_frames(frames_BTCHW)
    assert_same(features_BTD[:, middle], plain_BTD[:, middle])
    assert not torch.allclose(features_BTD[:, 0], plain_BTD[:, 0], atol=1e-3)


def test_stan_sees_no_order_before_training_and_is_not_mean_pool(backbone):
    frames_BTCHW, table = clips(), name_table(backbone)
    method = build(backbone, "stan", time_std=0)
    scores_BK = score(method, frames_BTCHW, table)
    assert_same(score(method, frames_BTCHW.flip(1), table), scores_BK)
    assert (scores_BK - zero_shot(backbone, frames_BTCHW, table)).abs().max() > 1e-3


@torch.inference_mode()
def test_seq_transformer_is_the_text_blocks_over_frames(backbone):
    frames_BTCHW = clips()
    frames_BTD = backbone.encode_frames(frames_BTCHW)
    x_BTD = frames_BTD + backbone.text_positions()[:T]
    for layer in backbone.text_layers:
        x_BTD = layer(x_BTD)
    video_BD = build(backbone, "seq_transformer").encode_video(frames_BTCHW)
    assert_same(video_BD, F.normalize(x_BTD + frames_BTD, dim=-1).mean(1))


@torch.inference_mode()
def test_motion_score_of_moted_is_ordered_descriptions(backbone):
    """With moted's temporal method and its reader, which start at zero."""
    frames_BTCHW, table = clips(), all_texts(backbone)
    alignment = {"temperature": 0.01, "order": 0.1}
    method = build(backbone, "moted", **alignment)
    video, text = method.encode_video(frames_BTCHW), method.encode_texts(table)
    motion_BK = backbone.logits(method.motion_scores(video, text))
    assert_same(
        motion_BK, score(build(backbone, "ordered_descriptions", steps="steps", **alignment), frames_BTCHW, table)
    )
