"""word_weighting against numbers of the original code (whwu95/BIKE @ e8f6a8b), recorded in word_weighting.json.

The original averages over all words, padding included. It was also called class by class without the padding, which is
what `word_weighting` computes.
"""

import pytest
import torch
import torch.nn.functional as F

from closed_form import closed_input, cotangent, near_gradient, near_rows, recorded
from kinetext.contracts.inputs import random_tiny
from kinetext.methods.base import build_method
from kinetext.methods.word_weighting import ClassTexts

CASES = recorded("word_weighting")


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("words", ["all_words", "real_words"])
def test_word_weighting_gives_the_originals_numbers_and_gradients(case, words):
    record = CASES[case]
    inputs = {name: closed_input(name, tuple(shape)).requires_grad_() for name, shape in record["inputs"].items()}
    words_KWD = inputs["word_feat"]
    W = words_KWD.shape[1]
    lengths_K = (
        torch.tensor(record["options"]["lengths"]) if words == "real_words" else torch.full((len(words_KWD),), W)
    )
    text = ClassTexts(inputs["class_feat"], F.normalize(words_KWD, dim=-1), torch.arange(W) < lengths_K[:, None])
    method = build_method(random_tiny(), "word_weighting", {})
    method.backbone.logits = lambda cosines: cosines
    scores_BK = method.score(inputs["frame_feat"], text)
    near_rows(scores_BK, record["outputs"][words])
    (scores_BK * cotangent(scores_BK)).sum().backward()
    for name, tensor in inputs.items():
        near_gradient(tensor.grad, record[f"grad_of_{words}"][name])
