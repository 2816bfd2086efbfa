"""x_pool, word_weighting and ost: their scores before training, what they add, and what they refuse."""

import pytest
import torch
import torch.nn.functional as F

from kinetext.backbones.text_table import tabulate_texts
from kinetext.methods import blocks
from kinetext.methods.base import LossInputs
from kinetext.methods.ost import transport_plan
from kinetext.methods.x_pool import TextPooling
from method_inputs import LABELS, B, K, T, assert_same, build, description_rows, name_table, noise_clips, score
from worlds import text_rows


@pytest.fixture
def names(tiny):
    return name_table(tiny)


@torch.inference_mode()
def test_x_pool_before_training_averages_layer_normed_frames_by_attention(tiny, names):
    norm = torch.nn.LayerNorm(tiny.embed_dim)
    frames_BTD = norm(tiny.clip.encode_image(noise_clips().flatten(0, 1)).unflatten(0, (B, T)))
    text_KD = build(tiny, "x_pool").encode_texts(names)
    weight_BKT = (torch.einsum("kd,btd->bkt", norm(text_KD), frames_BTD) / tiny.embed_dim**0.5).softmax(-1)
    pooled_BKD = norm(weight_BKT @ frames_BTD)
    cosine_BK = F.cosine_similarity(pooled_BKD, text_KD[None].expand(B, -1, -1), dim=-1)
    assert_same(score(build(tiny, "x_pool"), noise_clips(), names), tiny.logits(cosine_BK))


def test_x_pool_adds_the_published_number_of_parameters():
    with torch.device("meta"):
        pool = TextPooling(512, 1, 0.3)  # of ViT-B/16 and B/32
    assert sum(p.numel() for p in pool.parameters()) == 1_316_352  # the paper's code: 1.316 M


def test_x_pool_refuses_heads_that_do_not_divide_the_width(tiny):
    with pytest.raises(
        ValueError, match=r"x_pool: heads is 7, which does not divide the width .*, 128; take a divisor"
    ):
        build(tiny, "x_pool", heads=7)


@pytest.mark.parametrize("name", ["word_weighting", "word_weighting_tuned"])
def test_word_weighting_of_equal_frames_is_zero_shot(tiny, names, name):
    method = build(tiny, name)
    assert not method.new_parameters()
    one = noise_clips()[:, 2:3]
    expected = score(build(tiny, "zero_shot"), one, names)
    assert_same(score(method, one, names), expected)
    assert_same(score(method, one.repeat(1, T, 1, 1, 1), names), expected)


def test_word_weighting_tuned_starts_as_word_weighting(tiny, names):
    scores = [score(build(tiny, name), noise_clips(), names) for name in ("word_weighting", "word_weighting_tuned")]
    assert torch.equal(*scores)


@torch.inference_mode()
def test_equal_weights_at_a_high_temperature_average_the_cosines(tiny, names):
    method = build(tiny, "word_weighting", softmax_temperature=1e6)
    frames_BTD = tiny.clip.encode_image(noise_clips().flatten(0, 1)).unflatten(0, (B, T))
    text_KD = build(tiny, "zero_shot").encode_texts(names)
    cosine_BK = (F.normalize(frames_BTD, dim=-1) @ F.normalize(text_KD, dim=-1).T).mean(1)
    assert_same(score(method, noise_clips(), names), tiny.logits(cosine_BK))


def test_ost_with_one_frame_and_one_description_is_twice_zero_shot(tiny):
    one = description_rows(("whole", "it climbs"))
    as_name = [{**one[1], "kind": "name"}]
    frame = noise_clips()[:, 2:3]
    method = build(tiny, "ost")
    assert not method.new_parameters()
    expected = score(build(tiny, "zero_shot"), frame, tabulate_texts(as_name, ["rising"], tiny))
    assert_same(score(method, frame, tabulate_texts(one, ["rising"], tiny)), 2 * expected)


@torch.inference_mode()
def test_ost_takes_descriptions_of_the_whole_as_spatial_and_the_others_as_temporal(tiny):
    rows = description_rows(("start", "it waits"), ("whole", "a ball"), ("end", "it stops"), label="rising")
    rows += description_rows(("whole", "a cube"), ("whole", "a red cube"), label="falling")
    text = build(tiny, "ost").encode_texts(tabulate_texts(rows, ["rising", "falling"], tiny))
    assert text.spatial_KN.tolist() == [[True, False, False], [True, True, False]]
    assert text.temporal_KN.tolist() == [[True, True, False], [True, True, False]]  # falling: it has no others
    sentences = [["it waits", "it stops"], ["a cube", "a red cube"]]
    for k, of_class in enumerate(sentences):
        features = F.normalize(tiny.encode_text(tiny.tokenize(of_class))[0], dim=-1)
        assert_same(text.temporal_KND[k, :2], features)
    assert text.temporal_KND[:, 2].abs().max() == 0


def test_a_plan_moves_equal_shares_of_frames_to_equal_shares_of_descriptions():
    cosine_BKTN = torch.rand(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mask_KN = torch.arange(5) < torch.tensor([5, 2, 1])[:, None]
    plan_BKTN = transport_plan(cosine_BKTN, mask_KN, 0.1, 1000, 0.0)
    torch.testing.assert_close(plan_BKTN.sum(-1), torch.full((2, 3, 4), 0.25, dtype=torch.float64))
    torch.testing.assert_close(plan_BKTN.sum(-2), (mask_KN / mask_KN.sum(1, keepdim=True)).double().expand(2, -1, -1))


def test_ost_over_all_classes_is_the_cross_entropy(tiny):
    table = tabulate_texts(text_rows(LABELS), LABELS, tiny)
    method = build(tiny, "ost", loss="classes")
    video, text, target_B = method.encode_video(noise_clips()), method.encode_texts(table), torch.tensor([0, 1, 3])
    losses = method.losses(LossInputs(video, text, target_B, torch.eye(K, dtype=torch.bool)))
    assert_same(losses["cross_entropy"], F.cross_entropy(method.score(video, text), target_B))


@pytest.mark.parametrize("name", ["x_pool", "word_weighting", "ost", "x_clip"])
def test_scores_in_chunks_are_those_of_all_texts_at_once(tiny, name, monkeypatch):
    table = tabulate_texts(text_rows(LABELS), LABELS, tiny)
    method, sizes = build(tiny, name), []
    whole_BK = score(method, noise_clips(), table)
    in_chunks = blocks.score_in_chunks

    def one_by_one(function, text, numbers_per_text):
        def counted(*part):
            sizes.append(len(part[0]))
            return function(*part)

        return in_chunks(counted, text, numbers_per_text, at_once=1)

    module = __import__(type(method).__module__, fromlist=["score_in_chunks"])
    monkeypatch.setattr(module, "score_in_chunks", one_by_one)
    assert_same(score(method, noise_clips(), table), whole_BK)
    assert sizes == [1] * K
