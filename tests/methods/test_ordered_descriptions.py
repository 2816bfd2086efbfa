"""ordered_descriptions: the best alignment of frames and steps."""

import pytest
import torch
import torch.nn.functional as F

from kinetext.backbones.text_steps import StepIndexer, index_steps
from kinetext.backbones.text_table import tabulate_texts
from method_inputs import LABELS, B, T, assert_same, build, description_rows, noise_clips, score, sentence_features
from worlds import text_rows


@pytest.fixture
def table(tiny):
    return tabulate_texts(text_rows(LABELS), LABELS, tiny)


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
    rows = description_rows(
        ("end", "e1"), ("whole", "w1"), (0.5, "m"), ("start", "s1"), ("start", "s2"), ("whole", "w2")
    )
    table = tabulate_texts([*rows, *description_rows(("whole", "w3"), label="falling")], ["rising", "falling"], tiny)

    def steps(table, mode):
        index = index_steps(table, mode)
        return dict(zip(index.sentence_R.tolist(), index.step_R.tolist(), strict=True)), index.count_G.tolist()

    assert steps(table, "sentences") == ({1: 5, 2: 2, 3: 3, 4: 0, 5: 1, 6: 4, 8: 0}, [6, 1])
    assert steps(table, "phases") == ({1: 1, 2: -1, 3: -1, 4: 0, 5: 0, 6: -1, 8: 0}, [2, 1])
    assert steps(table, "steps") == ({1: 2, 2: -1, 3: 1, 4: 0, 5: 0, 6: -1, 8: 0}, [3, 1])
    assert index_steps(table, "steps").position_GM.tolist() == [[0.0, 0.5, 1.0], [0.5, 0.0, 0.0]]
    only_end = tabulate_texts(description_rows(("end", "e1"), ("whole", "w1")), ["rising"], tiny)
    assert steps(only_end, "phases") == ({1: 0, 2: -1}, [1])


def test_only_mutual_pairs_are_groups(tiny):
    labels = ["rising", "falling", "growing"]
    against = {("rising", "falling"): "up", ("falling", "rising"): "down", ("growing", "rising"): "large"}
    rows = [row for label in labels for row in description_rows(("start", f"{label} waits"), label=label)]
    rows += [
        row | {"rival": rival} for (k, rival), s in against.items() for row in description_rows(("end", s), label=k)[1:]
    ]
    index = index_steps(tabulate_texts(rows, labels, tiny), "steps", pairs=True)
    assert (index.label_P.tolist(), index.rival_P.tolist(), index.reverse_P.tolist()) == ([0, 1], [1, 0], [1, 0])
    assert index.count_G.tolist() == [2, 2, 2, 1, 1]
    table = tabulate_texts(rows, labels, tiny)
    assert table.rival_S[index.sentence_R[index.group_R == 3]].tolist() == [1]
    assert len(index_steps(table, "steps").label_P) == 0


def test_the_index_of_a_table_is_computed_once(tiny, table):
    indexer = StepIndexer("steps")
    assert indexer(table) is indexer(table)
    assert indexer(tabulate_texts(text_rows(LABELS), LABELS, tiny)) is not indexer(table)


@pytest.mark.parametrize("steps", ["ends", "phases", "steps", "sentences"])
def test_classes_may_have_as_many_sentences_as_they_like(tiny, steps):
    """A class's score is its own affair: the same beside a class with more or fewer steps."""
    rows = description_rows(("start", "low"), ("end", "high")), description_rows(("whole", "it sinks"), label="falling")
    method = build(tiny, "ordered_descriptions", steps=steps)
    both = score(method, noise_clips(), tabulate_texts([*rows[0], *rows[1]], ["rising", "falling"], tiny))
    for k, label in enumerate(["rising", "falling"]):
        assert_same(score(method, noise_clips(), tabulate_texts(rows[k], [label], tiny)), both[:, k : k + 1])
