"""The contrastive loss against numbers by hand and of STAN's code, and its gradient over several processes."""

import json

import pytest
import torch

from kinetext.methods.base import contrastive_loss, sigmoid_loss
from kinetext.training.gather import gather_features
from repository import ROOT

RECORDED = json.loads((ROOT / "tests/parity/stan_closed_form.json").read_text())


def test_by_hand():
    scores_BB = torch.tensor([[2.0, 0.0], [1.0, 0.0]])
    rows = -torch.log_softmax(scores_BB, 1).diag().mean()
    columns = -torch.log_softmax(scores_BB, 0).diag().mean()
    assert contrastive_loss(scores_BB).item() == pytest.approx(((rows + columns) / 2).item())
    assert contrastive_loss(torch.zeros(1, 1)).item() == 0.0


def test_sigmoid_loss_by_hand():
    """SigLIP's eq. 1: minus the log of the sigmoid of z_ij s_ij, summed over texts, averaged over videos."""
    logits_BK = torch.tensor([[2.0, -1.0, 0.5], [0.0, -3.0, 1.0]])
    signs_BK = torch.tensor([[-1.0, 1.0, -1.0], [1.0, -1.0, -1.0]])
    by_hand = -(signs_BK * logits_BK).sigmoid().log().sum() / 2
    assert sigmoid_loss(logits_BK, torch.tensor([1, 0])).item() == pytest.approx(by_hand.item())


def test_turned_over_it_is_the_same():
    scores_BB = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    assert contrastive_loss(scores_BB).item() == pytest.approx(contrastive_loss(scores_BB.T).item())


def test_one_process_has_what_came_in():
    features = torch.ones(2, 3)
    assert gather_features(features, (2,)) is features
