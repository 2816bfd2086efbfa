"""mean_pool and zero_shot: what they equal."""

import pytest
import torch
import torch.nn.functional as F

from kinetext.backbones.open_clip_vit import Architecture, OpenClipViT
from kinetext.backbones.text_table import tabulate_texts
from kinetext.config.training import TrainingOptions
from kinetext.methods.base import build_method
from kinetext.training.setup import choose_trained
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


@pytest.mark.parametrize(
    ("options", "millions"),
    [
        ({}, 86.2),
        ({"text_encoder": "trained"}, 124.3),
        ({"text_encoder": "trained", "word_embeddings": "trained", "learn_temperature": True}, 149.6),
    ],
)
def test_how_many_of_clips_parameters_train(options, millions, monkeypatch):
    import open_clip

    monkeypatch.setattr(open_clip.factory, "_set_model_device_and_precision", lambda *_: None)  # stays without values
    with torch.device("meta"):
        method = build_method(OpenClipViT(Architecture("ViT-B-16", True)), "mean_pool", {})
    choose_trained(method, TrainingOptions(**options))
    numbers = [(parameter.requires_grad, parameter.numel()) for parameter in method.parameters()]
    assert round(sum(number for trains, number in numbers if trains) / 1e6, 1) == millions
    assert sum(number for _, number in numbers) == 149_620_737
    assert all(trains for trains, _ in numbers) == (millions == 149.6)


def test_word_embeddings_learn_where_the_option_says_so(tiny, table):
    for words in ("frozen", "trained"):
        method = build_method(tiny, "mean_pool", {})
        choose_trained(method, TrainingOptions(text_encoder="trained", word_embeddings=words))
        method.zero_grad()
        score = method.score(method.encode_video(noise_clips()), method.encode_texts(table))
        F.cross_entropy(score, torch.zeros(B, dtype=torch.long)).backward()
        gradient = tiny.clip.token_embedding.weight.grad
        assert (gradient is not None) == (words == "trained")
    rows = {int(row) for row in gradient.abs().sum(1).nonzero()}
    words = {
        int(word) for row, mask in zip(table.tokens.ids_KL, table.tokens.mask_KL, strict=True) for word in row[mask]
    }
    assert rows == words  # of the class names, with the start and the end


def test_word_embeddings_need_the_text_encoder():
    with pytest.raises(ValueError, match="word_embeddings: trained needs text_encoder: trained, not frozen"):
        TrainingOptions(word_embeddings="trained")
