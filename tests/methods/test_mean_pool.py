"""mean_pool and zero_shot: what they equal."""

import pytest
import torch
import torch.nn.functional as F

from kinetext.backbones.text_table import tabulate_texts
from method_inputs import LABELS, B, T, assert_same, build, noise_clips, score, sentence_features
from worlds import text_rows


@pytest.fixture
def table(tiny):
    return tabulate_texts(text_rows(LABELS), LABELS, tiny)


def test_mean_pool_before_training_is_zero_shot(tiny, table):
    scores_BK = score(build(tiny, "zero_shot"), noise_clips(), table)
    assert torch.equal(score(build(tiny, "mean_pool"), noise_clips(), table), scores_BK)
    # and that is: the cosine of the mean frame feature and the mean text feature, times the inverse temperature
    with torch.inference_mode():
        video_BD = tiny.clip.encode_image(noise_clips().flatten(0, 1)).unflatten(0, (B, T)).mean(1)
        text_KD = torch.stack([F.normalize(sentence_features(tiny, label), dim=-1).mean(0) for label in LABELS])
        cosine_BK = F.normalize(video_BD, dim=-1) @ F.normalize(text_KD, dim=-1).T
        assert_same(scores_BK, cosine_BK * tiny.clip.logit_scale.exp())
