"""description_ensemble: its score by hand."""

import pytest
import torch
import torch.nn.functional as F

from kinetext.backbones.text_table import tabulate_texts
from method_inputs import LABELS, B, T, assert_same, build, description_rows, noise_clips, score, sentence_features
from worlds import text_rows


@pytest.fixture
def table(tiny):
    return tabulate_texts(text_rows(LABELS), LABELS, tiny)


@torch.inference_mode()
def test_description_ensembles_score_is_the_mean_cosine_of_a_classs_descriptions(tiny, table):
    method = build(tiny, "description_ensemble")
    frame_BTD = tiny.clip.encode_image(noise_clips().flatten(0, 1)).unflatten(0, (B, T))
    video_BD = F.normalize(frame_BTD.mean(1), dim=-1)
    cosines = [video_BD @ F.normalize(sentence_features(tiny, label, ("motion",)), dim=-1).T for label in LABELS]
    assert_same(score(method, noise_clips(), table), tiny.logits(torch.stack([c.mean(1) for c in cosines], 1)))
    one = description_rows(("whole", "it climbs"))
    name = [{**one[1], "kind": "name"}]
    assert_same(
        score(method, noise_clips(), tabulate_texts(one, ["rising"], tiny)),
        score(build(tiny, "zero_shot"), noise_clips(), tabulate_texts(name, ["rising"], tiny)),
    )
