"""The table of texts that methods encode."""

import pytest
import torch

from kinetext.backbones.text_table import encode_table, tabulate_texts
from method_inputs import LABELS, assert_same, build, description_rows
from worlds import text_rows


@pytest.fixture
def table(tiny):
    return tabulate_texts(text_rows(LABELS), LABELS, tiny)


def test_a_table_is_encoded_as_sentence_by_sentence_padding_apart(tiny):
    """Each distinct sentence once, in groups of alike length, and every one of them back in its place."""
    sentences = ["up", "it goes " + "up and " * 9 + "up", "up", "a " * 28, "nothing is there"]
    table = tabulate_texts(description_rows(*(("start", s) for s in sentences)), ["rising"], tiny)
    rows = []
    encode, tiny.encode_text = tiny.encode_text, lambda tokens: (rows.append(tokens.ids_KL.shape), encode(tokens))[1]
    with torch.inference_mode():
        words, (sentence_SD, word_SLD) = encode_table(tiny, table), encode(table.tokens)
    assert_same(words.sentence_SD, sentence_SD)
    seen_SL1 = table.tokens.mask_KL[..., None]
    assert_same(words.word_SLD * seen_SL1, word_SLD * seen_SL1)
    assert sum(n for n, _ in rows) == 5  # "rising" and four distinct sentences
    assert sum(n * length for n, length in rows) < table.tokens.ids_KL.numel() / 2


def test_a_class_without_a_name_is_refused(tiny):
    rows = [row for row in text_rows(LABELS) if row["label"] != "falling" or row["kind"] != "name"]
    with pytest.raises(ValueError, match="class 'falling' has no usable name"):
        tabulate_texts(rows, LABELS, tiny)


@pytest.mark.parametrize("name", ["moted", "ordered_descriptions", "description_ensemble"])
def test_a_class_without_a_description_is_refused(tiny, name):
    names = tabulate_texts(text_rows(LABELS, descriptions=False), LABELS, tiny)
    with pytest.raises(ValueError, match=f"{name}: class 'rising' has no usable motion description"):
        build(tiny, name).encode_texts(names)
