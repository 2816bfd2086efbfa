"""ordered_descriptions: the best alignment of frames and steps."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from kinetext.backbones.text_table import tabulate_texts
from kinetext.methods.ordered_descriptions import best_alignment, steps_of_sentences
from method_inputs import LABELS, B, T, assert_same, build, description_rows, noise_clips, score, sentence_features
from worlds import text_rows


@pytest.fixture
def table(tiny):
    return tabulate_texts(text_rows(LABELS), LABELS, tiny)


@pytest.mark.parametrize(("num_frames", "num_steps"), [(1, 1), (6, 1), (7, 2), (7, 3), (6, 6), (2, 3)])
def test_the_best_alignment_is_the_best_of_all_monotone_assignments(num_frames, num_steps):
    """Against all of them: where in the clip each next step begins. Two frames for three steps are four frames."""
    cosine_BKTM = torch.randn(4, 3, num_frames, 6, generator=torch.Generator().manual_seed(4))
    frame_T = sorted([*range(num_frames)] * -(-6 // num_frames))
    values_BKA = []
    for begins in itertools.combinations(range(1, len(frame_T)), num_steps - 1):
        step_T = [sum(t >= b for b in begins) for t in range(len(frame_T))]
        values_BKA.append(cosine_BKTM[:, :, frame_T, step_T].mean(-1))
    scores_BK = best_alignment(cosine_BKTM, torch.full((3,), num_steps))
    assert_same(scores_BK, torch.stack(values_BKA).amax(0))


@torch.inference_mode()
def test_ordered_descriptions_of_two_steps_is_the_best_moment_to_change(tiny, table):
    scores_BK = (
        score(build(tiny, "ordered_descriptions", steps="phases"), noise_clips(), table) / tiny.clip.logit_scale.exp()
    )
    frame_BTD = F.normalize(tiny.clip.encode_image(noise_clips().flatten(0, 1)).unflatten(0, (B, T)), dim=-1)
    for k, label in enumerate(LABELS):
        start_BT, end_BT = (frame_BTD @ F.normalize(sentence_features(tiny, label, ("motion",)), dim=-1).T).unbind(-1)
        cuts = [(start_BT[:, :t].sum(1) + end_BT[:, t:].sum(1)) / T for t in range(1, T)]
        assert_same(scores_BK[:, k], torch.stack(cuts).amax(0))


def test_steps_are_in_the_order_of_time_and_of_the_table(tiny):
    rows = description_rows(("end", "e1"), ("whole", "w1"), ("start", "s1"), ("start", "s2"), ("whole", "w2"))
    table = tabulate_texts([*rows, *description_rows(("whole", "w3"), label="falling")], ["rising", "falling"], tiny)
    assert steps_of_sentences(table, by_sentence=True).tolist() == [-1, 4, 2, 0, 1, 3, -1, 0]
    assert steps_of_sentences(table, by_sentence=False).tolist() == [-1, 1, -1, 0, 0, -1, -1, 0]
    only_end = tabulate_texts(description_rows(("end", "e1"), ("whole", "w1")), ["rising"], tiny)
    assert steps_of_sentences(only_end, by_sentence=False).tolist() == [-1, 0, -1]


@pytest.mark.parametrize("steps", ["ends", "phases", "sentences"])
def test_classes_may_have_as_many_sentences_as_they_like(tiny, steps):
    """A class's score is its own affair: the same beside a class with more or fewer steps."""
    rows = description_rows(("start", "low"), ("end", "high")), description_rows(("whole", "it sinks"), label="falling")
    method = build(tiny, "ordered_descriptions", steps=steps)
    both = score(method, noise_clips(), tabulate_texts([*rows[0], *rows[1]], ["rising", "falling"], tiny))
    for k, label in enumerate(["rising", "falling"]):
        assert_same(score(method, noise_clips(), tabulate_texts(rows[k], [label], tiny)), both[:, k : k + 1])
