"""selected_descriptions: its selection against a slow one, clip by clip."""

import pytest
import torch
import torch.nn.functional as F

from kinetext.backbones.text_table import tabulate_texts
from method_inputs import assert_same, build, description_rows

LABELS = ["rising", "falling", "growing", "gate opening"]
NUM_DESCRIPTIONS = (3, 5, 2, 4)


def fitted(tiny, **options):
    """The method, its texts, and its fitted cosines, on random features."""
    rows = [
        row
        for label, count in zip(LABELS, NUM_DESCRIPTIONS, strict=True)
        for row in description_rows(*((n / 8, f"{label} {n}") for n in range(count)), label=label)
    ]
    method = build(tiny, "selected_descriptions", **options)
    text = method.encode_texts(tabulate_texts(rows, LABELS, tiny))
    generator = torch.Generator().manual_seed(0)
    frames_NTD = torch.randn(40, 3, tiny.embed_dim, generator=generator)
    method.fit(frames_NTD, torch.arange(40) % 4, text)
    return method, text, torch.randn(6, tiny.embed_dim, generator=generator)


@pytest.mark.parametrize("options", [{}, {"count": 1}, {"top": 2, "count": 2}, {"name_weight": 0.0}, {"top": 4}])
@torch.inference_mode()
def test_the_selection_is_that_of_a_slow_one(tiny, options):
    method, text, video_BD = fitted(tiny, **options)
    config, cosine_KJK = method.config, method.fitted["cosine_KJK"]
    scores_BK = method.score(video_BD, text) / tiny.logits(torch.ones(()))
    names_KD = F.normalize(text.name_KD, dim=-1)
    for unit_D, scores_K in zip(F.normalize(video_BD, dim=-1), scores_BK, strict=True):
        name_K = config.name_weight * names_KD @ unit_D
        mean_K = torch.stack([(text.sentence_KJD[k, :n] @ unit_D).mean() for k, n in enumerate(NUM_DESCRIPTIONS)])
        candidates = (name_K if config.name_weight else mean_K).topk(config.top).indices.tolist()
        for k in candidates:
            others = [c for c in candidates if c != k]
            margins = {
                j: [float(cosine_KJK[k, j, k] - cosine_KJK[k, j, c]) for c in others]
                for j in range(NUM_DESCRIPTIONS[k])
            }
            ranked = sorted(margins, key=lambda j: -sum(margins[j]))
            kept = [j for j in ranked if min(margins[j]) >= 0][: config.count] or [
                max(margins, key=lambda j: sum(margins[j]))
            ]
            assert_same(scores_K[k], name_K[k] + (text.sentence_KJD[k, kept] @ unit_D).mean())
        below = [k for k in range(4) if k not in candidates]
        assert all(scores_K[k] < scores_K[candidates].min() for k in below)


def test_without_clips_or_with_other_texts_it_is_refused(tiny):
    method, text, video_BD = fitted(tiny)
    with pytest.raises(ValueError, match="class 3 has no training clip"):
        method.fit(torch.randn(3, 2, tiny.embed_dim), torch.arange(3), text)
    fewer = text._replace(sentence_KJD=text.sentence_KJD[:, :2])
    with pytest.raises(ValueError, match=r"was fitted to \(4, 5\) classes and descriptions, not to \(4, 2\)"):
        method.score(video_BD, fewer)
    with pytest.raises(ValueError, match="is not fitted yet"):
        build(tiny, "selected_descriptions").score(video_BD, text)
