"""seq_transformer: what it equals before training, its parameters, and what it refuses."""

import pytest
import torch
import torch.nn.functional as F

from kinetext.backbones.open_clip_vit import Architecture, OpenClipViT
from kinetext.backbones.text_table import tabulate_texts
from method_inputs import LABELS, B, T, assert_same, build, noise_clips, score
from worlds import text_rows


@pytest.fixture
def table(tiny):
    return tabulate_texts(text_rows(LABELS), LABELS, tiny)


@torch.inference_mode()
def test_seq_transformer_before_training_is_clips_text_blocks_over_frames(tiny):
    """CLIP4Clip's start: open_clip's own blocks, without their mask, with their positions."""
    frames_BTD = tiny.clip.encode_image(noise_clips().flatten(0, 1)).unflatten(0, (B, T))
    x = frames_BTD + tiny.clip.positional_embedding[:T]
    for block in tiny.clip.transformer.resblocks:  # three of them, where CLIP4Clip takes four
        x = block(x)
    video_BD = build(tiny, "seq_transformer").encode_video(noise_clips())
    assert_same(video_BD, F.normalize(x + frames_BTD, dim=-1).mean(1))
    one = build(tiny, "seq_transformer", layers=1)
    x = tiny.clip.transformer.resblocks[0](frames_BTD + tiny.clip.positional_embedding[:T])
    assert_same(one.encode_video(noise_clips()), F.normalize(x + frames_BTD, dim=-1).mean(1))


@torch.inference_mode()
def test_seq_transformer_as_actionclip_starts_random_and_averages_frames_as_they_are(tiny):
    method = build(tiny, "seq_transformer", init="actionclip")
    assert len(method.blocks) == 6
    assert method.blocks[0].block.mlp.c_fc.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert method.position_PD.std().item() == pytest.approx(0.02, rel=0.05)
    frames_BTD = tiny.clip.encode_image(noise_clips().flatten(0, 1)).unflatten(0, (B, T))
    x = frames_BTD + method.position_PD[:T]
    for block in method.blocks:
        x = block(x)
    assert_same(method.encode_video(noise_clips()), (x + frames_BTD).mean(1))


@pytest.mark.parametrize("init", ["clip4clip", "actionclip"])
def test_seq_transformer_sees_order_by_its_positions_alone(tiny, table, init):
    method = build(tiny, "seq_transformer", init=init)
    method.position_PD.data.zero_()
    assert_same(score(method, noise_clips().flip(1), table), score(method, noise_clips(), table))
    method.position_PD.data.normal_()
    assert (score(method, noise_clips().flip(1), table) - score(method, noise_clips(), table)).abs().max() > 1e-3


def test_seq_transformer_adds_the_published_numbers_of_parameters():
    backbone = OpenClipViT(Architecture("ViT-B-32"))
    added = {
        init: sum(p.numel() for p in build(backbone, "seq_transformer", init=init).new_parameters().values())
        for init in ("clip4clip", "actionclip")
    }
    assert added == {"clip4clip": 12_648_960, "actionclip": 18_953_728}  # the papers' code: 12.65 M, 18.95 M


def test_seq_transformer_refuses_more_frames_than_positions_and_more_copies_than_blocks(tiny):
    with pytest.raises(ValueError, match="at most 32 frames"):
        build(tiny, "seq_transformer").encode_tokens({4: torch.zeros(1, 33, 1, tiny.width)})
    with pytest.raises(ValueError, match="layers is 4, but init: clip4clip has only 3 text layers"):
        build(tiny, "seq_transformer", layers=4)
