"""ost against numbers of the original code (tomchen-ctj/OST @ 1810ae6), recorded in ost.json.

The original stops Sinkhorn for all pairs of a call at once, `ost` for each pair alone. `released_iterations` finds the
number of iterations of the original, and `ost` is run for that many.
"""

import pytest
import torch
import torch.nn.functional as F

from closed_form import closed_input, cotangent, near_gradient, near_rows, recorded
from kinetext.contracts.inputs import random_tiny
from kinetext.methods import ost
from kinetext.methods.base import LossInputs, build_method

CASES = recorded("ost")
own_plan = ost.transport_plan


def released_iterations(cosine_BKTN) -> int:
    """The iteration after which the mean change of the row factors of all pairs is below 0.01."""
    kernel = ((cosine_BKTN.detach() - 1) / 0.1).exp()
    row, column = torch.ones_like(kernel[..., 0]), torch.ones_like(kernel[..., 0, :])
    for iteration in range(1, 101):
        before, row = row, 1 / kernel.shape[-2] / (kernel @ column[..., None])[..., 0]
        column = 1 / kernel.shape[-1] / (kernel.transpose(-1, -2) @ row[..., None])[..., 0]
        if (row - before).abs().mean() < 0.01:
            return iteration
    return 100


@pytest.fixture
def iterations(monkeypatch) -> list[int]:
    """Run the original's number of iterations; the numbers of all calls."""
    calls = []

    def plan(cosine_BKTN, mask_KN, entropy, iterations, threshold):
        calls.append(released_iterations(cosine_BKTN))
        return own_plan(cosine_BKTN, mask_KN, entropy, calls[-1], 0.0)

    monkeypatch.setattr(ost, "transport_plan", plan)
    return calls


def unit_inputs(record):
    leaves = {name: closed_input(name, tuple(shape)).requires_grad_() for name, shape in record["inputs"].items()}
    frames_BTD, spatial_KND, temporal_KND = (F.normalize(leaf, dim=-1) for leaf in leaves.values())
    all_KN = torch.ones(spatial_KND.shape[:2], dtype=torch.bool)
    return leaves, frames_BTD, ost.Descriptions(spatial_KND, all_KN, temporal_KND, all_KN)


def compare_gradients(scalar, leaves, record) -> None:
    gradients = torch.autograd.grad(scalar, list(leaves.values()), retain_graph=True, allow_unused=True)
    for name, gradient in zip(leaves, gradients, strict=True):
        if gradient is not None:
            near_gradient(gradient, record[name])
    assert sum(gradient is not None for gradient in gradients) == len(record)


@pytest.mark.parametrize("case", CASES)
def test_ost_gives_the_originals_plan_logits_loss_and_gradients(case, iterations):
    record = CASES[case]
    leaves, frames_BTD, text = unit_inputs(record)
    method = build_method(random_tiny(), "ost", {})
    method.backbone.logits = lambda cosines: 100 * cosines
    cosine_BKTN = torch.einsum("btd,knd->bktn", frames_BTD, text.spatial_KND)
    plan_BKTN = ost.transport_plan(cosine_BKTN, text.spatial_KN, 0.1, 100, 0.01)
    near_rows(plan_BKTN, record["outputs"]["plan"])
    score_BK = (plan_BKTN * cosine_BKTN).sum((-2, -1))
    near_rows(score_BK, record["outputs"]["score"])
    compare_gradients((score_BK * cotangent(score_BK)).sum(), leaves, record["grad_of_score"])
    logits_BK = method.score(frames_BTD, text)
    assert (
        dict(zip(("score", "spatial", "temporal"), iterations, strict=True)) == record["outputs"]["sinkhorn_iterations"]
    )
    near_rows(logits_BK, record["outputs"]["logits"])
    compare_gradients((logits_BK * cotangent(logits_BK)).sum(), leaves, record["grad_of_logits"])
    (loss,) = method.losses(LossInputs(frames_BTD, text, torch.tensor(record["options"]["labels"]))).values()
    near_rows(loss, record["outputs"]["train_total_loss"])
    compare_gradients(loss, leaves, record["grad_of_train_total_loss"])


def test_the_plan_of_a_pair_depends_on_no_other_pair():
    _, frames_BTD, text = unit_inputs(CASES["n4"])
    cosine_BKTN = torch.einsum("btd,knd->bktn", frames_BTD, text.spatial_KND)
    whole_BKTN = own_plan(cosine_BKTN, text.spatial_KN, 0.1, 100, 0.01)
    for b in range(cosine_BKTN.shape[0]):
        for k in range(cosine_BKTN.shape[1]):
            pair = cosine_BKTN[b : b + 1, k : k + 1]
            alone = own_plan(pair, text.spatial_KN[k : k + 1], 0.1, released_iterations(pair), 0.0)
            torch.testing.assert_close(whole_BKTN[b : b + 1, k : k + 1], alone, rtol=1e-9, atol=1e-12)
    padded = F.pad(cosine_BKTN, (0, 2))
    mask_KN = F.pad(text.spatial_KN, (0, 2))
    torch.testing.assert_close(own_plan(padded, mask_KN, 0.1, 100, 0.01)[..., :4], whole_BKTN, rtol=1e-9, atol=1e-12)
