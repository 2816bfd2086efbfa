"""description_ensemble: its score by hand."""

import pytest
import torch
import torch.nn.functional as F

from kinetext.backbones.text_table import tabulate_texts
from method_inputs import (
    LABELS,
    B,
    T,
    assert_same,
    build,
    description_rows,
    noise_clips,
    row_features,
    score,
    sentence_features,
)
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


@pytest.fixture
def many(tiny):
    """Four descriptions of one class and two of another."""
    rows = description_rows(("start", "low"), ("whole", "it climbs"), ("end", "high"), (0.5, "half way up"))
    return [*rows, *description_rows(("start", "high"), ("end", "low"), label="falling")]


def cosines_of(tiny, rows, label):
    frame_BTD = tiny.clip.encode_image(noise_clips().flatten(0, 1)).unflatten(0, (B, T))
    features = row_features(tiny, [row for row in rows if row["label"] == label and row["kind"] == "motion"])
    return F.normalize(frame_BTD.mean(1), dim=-1) @ F.normalize(features, dim=-1).T


@torch.inference_mode()
def test_trimmed_and_soft_means_and_names_by_hand(tiny, many):
    labels = ["rising", "falling"]
    table = tabulate_texts(many, labels, tiny)
    cosines = [cosines_of(tiny, many, label) for label in labels]

    def cosine_scores(**options):
        return score(build(tiny, "description_ensemble", **options), noise_clips(), table) / tiny.logits(torch.ones(()))

    means = [c.sort(-1).values[:, 1:-1].mean(-1) if c.shape[1] == 4 else c.mean(-1) for c in cosines]
    assert_same(cosine_scores(mean="trimmed", trim=0.25), torch.stack(means, 1))
    soft = [((c / 0.02).softmax(-1) * c).sum(-1) for c in cosines]
    assert_same(cosine_scores(mean="soft", temperature=0.02), torch.stack(soft, 1))
    names = score(
        build(tiny, "zero_shot"), noise_clips(), tabulate_texts([r for r in many if r["kind"] == "name"], labels, tiny)
    )
    plain = torch.stack([c.mean(-1) for c in cosines], 1)
    assert_same(cosine_scores(name_weight=2.0), plain + 2 * names / tiny.logits(torch.ones(())))
    assert_same(cosine_scores(), plain)
